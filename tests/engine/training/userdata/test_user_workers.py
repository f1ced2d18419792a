"""Killed workers of torch's DataLoader: real processes and signals."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training.training_tools import small_config
from torch.utils.data import dataloader

from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.readers import custom_dataset
from gputrain.engine.training.userdata.user_loader import UserLoader
from gputrain.engine.training.workers.worker_pool import WorkerError

DATA = """
import os
import random
from multiprocessing import connection
from pathlib import Path

import torch
from torch.utils.data import Dataset, get_worker_info


class Points(Dataset):
    classes = 2

    def __init__(self, deadly):
        self.deadly = deadly

    def __len__(self):
        return 36

    def __getitem__(self, index):
        if get_worker_info() is not None:
            if self.deadly == "left":
                os._exit(3)
            if isinstance(self.deadly, Path):
                if index > 20 and not self.deadly.exists():
                    self.deadly.touch()
                    # From now on it closes each connection by which it should hand over a tensor.
                    connection.deliver_challenge = None
            elif self.deadly and index > 20:
                os.kill(os.getpid(), self.deadly)
        return torch.full((5,), index + random.random()), index % 2


fine = lambda data_dir: Points(0)
killed = lambda data_dir: Points(9)
bus = lambda data_dir: Points(7)
left = lambda data_dir: Points("left")
hung_up = lambda data_dir: Points(Path(__file__).with_name("hung-up"))
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "points.py").write_text(DATA)
    # How long torch waits before it looks whether a worker is gone: five seconds.
    monkeypatch.setattr(dataloader._MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))
    finders = list(sys.meta_path)
    yield tmp_path
    sys.meta_path[:] = finders
    sys.modules.pop("points", None)


def loader(code: Path, said: list[str], function: str = "fine", **changes: Any) -> UserLoader:
    values = {"dataset": "custom", "custom": f"points:{function}", "code_dir": str(code), "augment": "none"}
    config = small_config(Path(), **values | {"batch_size": 6, "num_workers": 2, "prefetch_factor": 1} | changes)
    data = custom_dataset.read(config, lambda _: None).train
    made = make_loader(data, config, train=True, pin=False, on_warning=said.append)
    assert isinstance(made, UserLoader)
    return made


@pytest.mark.parametrize("persistent", [True, False])
def test_killed_workers_are_replaced_and_the_batches_are_the_same(code: Path, persistent: bool) -> None:
    said: list[str] = []
    hit, whole = loader(code, said, persistent_workers=persistent), loader(code, [], num_workers=0)
    handler = signal.getsignal(signal.SIGCHLD)
    for epoch in (0, 1):
        batches = hit.epoch(epoch, start=1)
        for number, expected in enumerate(whole.epoch(epoch, start=1), 1):
            if number in (2, 4):
                for worker in multiprocessing.active_children():
                    worker.kill()
                    worker.join()
            found = next(batches)
            assert found.number == expected.number == number
            assert torch.equal(found.indices, expected.indices)
            assert torch.equal(found.images, expected.images)
        assert next(batches, None) is None
    hit.close()
    assert not multiprocessing.active_children()
    assert len(said) == 4
    assert "was killed by SIGKILL; new workers load its batches" in said[0]
    # torch's own would raise wherever the training is.
    assert signal.getsignal(signal.SIGCHLD) is handler


def test_a_worker_that_lives_and_hangs_up_is_replaced(code: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    hit, whole = loader(code, said, "hung_up"), loader(code, [], num_workers=0)
    for found, expected in zip(hit.epoch(0), whole.epoch(0), strict=True):
        assert torch.equal(found.indices, expected.indices)
        assert torch.equal(found.images, expected.images)
    hit.close()
    assert said == ["a data worker hung up; new workers load its batches"]
    assert not multiprocessing.active_children()
    assert "TypeError" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("function", "message", "most"),
    [
        ("killed", "was killed by SIGKILL; most likely out of memory: lower num_workers", 6),
        ("bus", "was killed by SIGBUS; most likely /dev/shm is full", 6),
        ("left", r"exited with code 3; trainer\.log has its last output; num_workers=0", 0),
    ],
)
def test_workers_that_die_repeatedly_end_the_run_with_the_reason(
    code: Path, function: str, message: str, most: int
) -> None:
    said: list[str] = []
    deadly = loader(code, said, function, num_workers=1)
    with pytest.raises(WorkerError, match=message):
        list(deadly.epoch(0))
    assert len(said) <= most
    assert bool(said) == bool(most)
    deadly.close()
