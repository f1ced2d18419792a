"""RNG states: a resumed run draws the same random numbers of every kind."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training.training_tools import small_config, train

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.training.loop.validation import Validation
from gputrain.engine.training.runtime import rng_state
from gputrain.engine.training.state import torch_checkpoint

CODE = """
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset


class Points(Dataset):
    classes = 2

    def __len__(self):
        return 36

    def __getitem__(self, index):
        return torch.full((5,), index + random.random() + np.random.rand()) + torch.rand(5), index % 2


def both(data_dir):
    return Points(), Points()


class Noisy(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.head = nn.Linear(5, outputs)
        self.drop = nn.Dropout(0.2)

    def forward(self, inputs):
        inputs = inputs * (1 + random.random() / 10 + np.random.rand() / 10) + torch.rand(1)
        if inputs.is_meta:
            return self.head(inputs)
        return self.head(self.drop(inputs))
"""
RUN: dict[str, Any] = {
    "dataset": "custom",
    "custom": "noise:both",
    "model": "noise:Noisy",
    "augment": "none",
    "batch_size": 6,
    "lr": 1e-3,
    "checkpoint_steps": 4,
    "keep_last": 50,
}


@pytest.fixture
def code(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "noise.py").write_text(CODE)
    finders = list(sys.meta_path)
    yield tmp_path
    sys.meta_path[:] = finders
    sys.modules.pop("noise", None)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch_checkpoint.load(str(folder), pytest.fail)["model"]
    return found


def same(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return all(torch.equal(one[name], other[name]) for name in one)


def run(folder: Path, code: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    train(folder, small_config(Path(), **RUN | {"code_dir": str(code), "epochs": 2} | changes))
    return folder


def test_a_resumed_run_draws_the_same_random_numbers(code: Path, tmp_path: Path) -> None:
    """In mid-epoch, with another number of workers; earlier draws in this process do not matter."""
    random.seed()
    np.random.seed()
    whole = run(tmp_path / "whole", code, num_workers=2)
    start = whole / "checkpoints" / checkpoint_index.find(whole / "checkpoints", "8").file
    for workers in (0, 1):
        again = run(tmp_path / f"from-8-{workers}", code, num_workers=workers, resume_from=str(start))
        assert same(again, whole)
    assert not same(run(tmp_path / "other", code, seed=1, num_workers=0), whole)


def test_an_interrupted_validation_leaves_rng_states_unchanged(code: Path, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", code, num_workers=0)
    judge = Validation.judge

    def cut_off(validation: Validation, *arguments: Any) -> bool:
        validation.control.stop, validation.control.reason = "checkpoint", "stopped on request"
        return judge(validation, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validation, "judge", cut_off)
        cut = run(tmp_path / "cut", code, num_workers=0)
    assert same(run(cut, code, num_workers=0, resume_from=str(cut)), whole)


def test_rng_states_are_restored(tmp_path: Path) -> None:
    def draw() -> tuple[float, ...]:
        return random.gauss(0, 1), np.random.randn(), np.random.rand(), float(torch.rand(()))

    rng_state.seed(2**63 - 1)
    draw()
    torch.save(rng_state.rng_states(), tmp_path / "states.pt")
    with rng_state.preserved_rng(devices=True):
        first = draw()
    assert draw() == first
    assert draw() != first
    rng_state.restore_rng_states(torch.load(tmp_path / "states.pt", weights_only=True))
    assert draw() == first
    rng_state.restore_rng_states({"torch_rng": torch.get_rng_state()})
