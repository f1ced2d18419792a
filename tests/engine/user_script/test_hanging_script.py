"""A script by torchrun, or by accelerate, whose rank 1 blocks: it is named with its line; a long validation is not."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.scripts.watched import EXEC, LOCAL_TORCHRUN, TIMEOUT, script

from gputrain.engine.events import AnyEvent, Notice, Outcome, RunEnded, ScriptModel, StacksTaken
from gputrain.engine.runs import event_log, run_directory
from gputrain.engine.user_script.hang_verdict import GOES_ON, NO_STEPS

TORCHRUN = [*LOCAL_TORCHRUN, "--nproc-per-node", "2"]
# On a CPU it starts several processes only as it does for several GPUs.
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
ACCELERATE += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_ip"]
ACCELERATE += ["127.0.0.1", "--main_process_port", "0"]
DATASET = """
import fcntl
import torch
from torch.utils.data import Dataset

class Rows(Dataset):
    def __init__(self, lock):
        self.lock = lock
    def __len__(self):
        return 64
    def __getitem__(self, index):
        if self.lock and index == 40:
            with open(self.lock) as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # line 14
        return torch.ones(8) * index, index % 3
"""
TRAIN = """
import sys, time
import torch
from torch.utils.data import DataLoader, Dataset
from my_dataset import Rows

class Slow(Dataset):
    def __len__(self):
        return 40
    def __getitem__(self, index):
        time.sleep(0.4)
        return torch.ones(8)

torch.manual_seed(0)
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 3))
optimizer = torch.optim.SGD(model.parameters(), 1e-3)

def train(lock, workers):
    for x, y in DataLoader(Rows(lock if rank == 1 else ""), batch_size=8, num_workers=workers):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()  # line 25
        optimizer.step()

def check():
    with torch.no_grad():
        for x in DataLoader(Slow(), batch_size=1):
            model.module(x)

train("", 0)
if rank == 0:
    check()
torch.distributed.barrier()
train(sys.argv[1], 0)
train(sys.argv[2], 1)
print("weights", rank, model.module.weight.sum().item())
torch.distributed.destroy_process_group()
"""


class Hanging:
    """A run whose rank 1 blocks at two locks, one after the other, each until it was named."""

    def __init__(self, folder: Path, launcher: list[str]) -> None:
        script(folder, DATASET, "my_dataset.py")
        self.train = script(folder, TRAIN)
        self.dataset = folder / "my_dataset.py"
        locks = [folder / "first.lock", folder / "second.lock"]
        for lock in locks:
            lock.touch()
        launch = [*launcher, str(self.train), *map(str, locks)]
        with locks[0].open() as first, locks[1].open() as second:
            for file in (first, second):
                fcntl.flock(file, fcntl.LOCK_EX)
            command = [*EXEC, "--plain", "--hang-seconds", "5", "--", *launch]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
            try:
                for number, file in enumerate((first, second), start=1):
                    self._until_named(number, process)
                    fcntl.flock(file, fcntl.LOCK_UN)
                self.printed, _ = process.communicate(timeout=TIMEOUT)
            finally:
                process.terminate()
                process.wait()
        self.events: list[AnyEvent] = list(event_log.read(run_directory.find("last").events))
        self.notices = [one for one in self.events if isinstance(one, Notice)]

    def _until_named(self, number: int, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while len(self._named()) < number:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def _named(self) -> list[Notice]:
        runs = run_directory.list_runs()
        events = event_log.read(runs[0].run.events) if runs else iter(())
        return [one for one in events if isinstance(one, Notice) and one.level == "warning" and NO_STEPS in one.text]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(TORCHRUN, id="torchrun", marks=pytest.mark.long),
        pytest.param(ACCELERATE, id="accelerate", marks=pytest.mark.frameworks),
    ],
)
def hanging(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Hanging]:
    folder = tmp_path_factory.mktemp("hanging")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for variable in ("GPUTRAIN_HOME", "GPUTRAIN_CACHE", "GPUTRAIN_CONFIG"):
            monkeypatch.setenv(variable, str(folder / variable))
        yield Hanging(folder, request.param)


def test_the_rank_that_blocks_is_named_with_file_and_line(hanging: Hanging) -> None:
    first, second = [one.text for one in hanging.notices if one.level == "warning" and NO_STEPS in one.text]
    at = f"rank 1 keeps the others waiting in step 14: it is at {hanging.dataset}:14 in __getitem__, since "
    whom = f"; rank 0 waits for it in the backward pass, in which gradients are exchanged ({hanging.train}:25 in train)"
    assert at in first
    assert whom in first
    assert f"it is at {hanging.dataset}:14 in __getitem__, in its data worker " in second
    assert whom in second


def test_what_is_said_is_printed(hanging: Hanging) -> None:
    printed = " ".join(hanging.printed.split())
    assert "rank 1 keeps the others waiting in step 14" in printed


def test_a_long_validation_of_one_rank_is_no_hang(hanging: Hanging) -> None:
    first = next(one for one in hanging.notices if NO_STEPS in one.text and one.level == "warning")
    before = [one.text for one in hanging.notices if one.seq < first.seq and NO_STEPS in one.text]
    # Only the start may have been slow enough to be mentioned, and then without a verdict.
    assert all("no rank has done a step so far" in text for text in before)


def test_the_script_is_not_disturbed(hanging: Hanging) -> None:
    goes_on = [one.text for one in hanging.notices if one.text.startswith(GOES_ON)]
    assert len(goes_on) == 2
    ended = hanging.events[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.outcome, ended.exit_code) == (Outcome.FINISHED, 0)
    assert ended.step == 3 * 8
    weights = {line.split()[-1] for line in hanging.printed.splitlines() if " weights " in f" {line}"}
    assert len(weights) == 1
    # Nobody asked for stacks.
    assert not [one for one in hanging.events if isinstance(one, StacksTaken)]
    assert [one.ranks for one in hanging.events if isinstance(one, ScriptModel)] == [2]
