"""Custom samplers: their order is kept by a new loader and by a resumed run, whatever RNG they use."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training.training_tools import Result, train

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.events import EpochEnded
from gputrain.engine.training.userdata import user_sampler
from gputrain.engine.training.userdata.user_dataset import UserDataset
from gputrain.engine.training.userdata.user_loader import UserLoader

COUNT, BATCH = 64, 8
OWN = '''
import random

import torch


class Points:
    def __len__(self):
        return 48

    def __getitem__(self, index):
        return torch.full((5,), index / 48), torch.tensor([index / 48, 1.0])


class Stubborn:
    """Uses its own generator, whose state cannot be restored."""

    def __len__(self):
        return 48

    def __iter__(self):
        return iter(random.SystemRandom().sample(range(48), 48))


def make(data_dir):
    return {"train": Points(), "sampler": Stubborn()}
'''
NET = """
from torch import nn


def flat(outputs):
    return nn.Linear(5, outputs)
"""


class Points:
    """Data."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.zeros(2), 0


class Shuffled:
    """A sampler."""

    def __init__(self, shuffle: Callable[[list[int]], object]) -> None:
        self._shuffle = shuffle

    def __len__(self) -> int:
        return COUNT

    def __iter__(self) -> Iterator[int]:
        indices = list(range(COUNT))
        self._shuffle(indices)
        return iter(indices)


def config() -> RunConfig:
    return settings.build({"dataset": "custom", "custom": "a:b", "batch_size": BATCH, "num_workers": 0, "seed": 3})


def seen(own: UserDataset, epoch: int, start: int = 0, end: int = COUNT // BATCH) -> list[int]:
    """Indices of some batches, from a new loader."""
    loader = UserLoader(own, config(), train=True, pin=False)
    found = [batch.indices.tolist() for batch, _ in zip(loader.epoch(epoch, start), range(end - start), strict=False)]
    loader.close()
    return [index for indices in found for index in indices]


@pytest.mark.parametrize("shuffle", [random.shuffle, np.random.shuffle, random.SystemRandom().shuffle])
def test_a_new_loader_in_mid_epoch_loses_and_repeats_no_sample(shuffle: Callable[[list[int]], object]) -> None:
    own = UserDataset(Points(), Shuffled(shuffle), "")
    for epoch in (0, 1):
        assert sorted(seen(own, epoch, end=4) + seen(own, epoch, start=4)) == list(range(COUNT))


@pytest.mark.parametrize("shuffle", [random.shuffle, np.random.shuffle])
def test_the_order_belongs_to_seed_and_epoch(shuffle: Callable[[list[int]], object]) -> None:
    first = seen(UserDataset(Points(), Shuffled(shuffle), ""), 0)
    random.random()
    np.random.random()
    again = UserDataset(Points(), Shuffled(shuffle), "")
    assert seen(again, 0) == first
    assert seen(again, 1) != first


def test_resuming_in_mid_epoch_keeps_an_irreproducible_order(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(OWN)
    values: dict[str, Any] = {
        "custom": "stubborn:make",
        "code_dir": str(tmp_path),
        "dataset": "custom",
        "augment": "none",
    }
    values |= {"model": "flatnet:flat", "batch_size": 6, "num_workers": 0, "seed": 3, "device": "cpu", "epochs": 1}
    (tmp_path / "flatnet.py").write_text(NET)
    # At a rate of 0 the mean loss of an epoch is that of all its samples, in any order: none lost, none twice.
    values |= {"lr": 1e-12, "weight_decay": 0.0, "checkpoint_steps": 3, "keep_last": 50, "precision": "fp32"}

    def loss(result: Result) -> float:
        (ended,) = result.of(EpochEnded)
        return float(ended.train_loss)

    (tmp_path / "first").mkdir()
    whole = loss(train(tmp_path / "first", settings.build(values)))
    middle = tmp_path / "first" / "checkpoints" / "step-00000003.pt"
    (tmp_path / "second").mkdir()
    resumed = settings.build(values | {"resume_from": str(middle)})
    assert loss(train(tmp_path / "second", resumed)) == pytest.approx(whole, rel=1e-5)


def test_a_batch_sampler_is_refused_with_the_remedy() -> None:
    batches = torch.utils.data.BatchSampler(torch.utils.data.SequentialSampler(range(COUNT)), BATCH, drop_last=True)
    own = UserDataset(Points(), batches, "")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="a batch sampler is not supported: batch_size sets the size of batches"):
        user_sampler.epoch_indices(own, 0, 0, train=True)
