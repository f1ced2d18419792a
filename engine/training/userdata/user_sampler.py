"""Order of the user's samples: that of their sampler, or shuffled by (seed, epoch)."""

from __future__ import annotations

import contextlib
import operator
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from gputrain.engine.common.errors import BadInput
from gputrain.engine.dataloading import batch_sampler
from gputrain.engine.dataloading.batch_sampler import Indices
from gputrain.engine.training.runtime import rng_state
from gputrain.engine.training.userdata.user_dataset import UserDataset


def length(user_dataset: UserDataset) -> int:
    """Samples of an epoch. Raises BadInput."""
    sized: Any = user_dataset.dataset if user_dataset.sampler is None else user_dataset.sampler
    count = len(sized)
    if count < 1:
        raise BadInput("custom: the data set is empty")
    return count


def epoch_indices(user_dataset: UserDataset, seed: int, epoch: int, *, train: bool) -> Indices:
    """The indices of an epoch in order. Raises BadInput."""
    count = length(user_dataset)
    if user_dataset.sampler is None or not train:
        return batch_sampler.permutation(seed, epoch, count) if train else np.arange(count, dtype=np.int64)
    epoch_order = user_dataset.epoch_order
    if epoch_order.epoch != epoch or epoch_order.indices is None or len(epoch_order.indices) != count:
        epoch_order.epoch, epoch_order.indices = epoch, _draw(user_dataset.sampler, seed, epoch, count)
    return epoch_order.indices


def _draw(sampler: Any, seed: int, epoch: int, count: int) -> Indices:
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
    indices = _indices(sampler, (seed * 1_000_003 + epoch) % (1 << 63))
    if len(indices) < count:
        raise BadInput(f"custom: the sampler gave {len(indices)} indices, where its length is {count}")
    return indices[:count]


def _indices(sampler: Iterable[Any], number: int) -> Indices:
    try:
        with _seeded(number):
            return np.fromiter((operator.index(index) for index in sampler), dtype=np.int64)
    except TypeError as error:
        if not str(error).endswith("cannot be interpreted as an integer"):
            raise
        raise BadInput(
            "custom: the sampler returns no indices of single samples; a batch sampler is not supported: batch_size "
            "sets the size of batches"
        ) from None


@contextlib.contextmanager
def _seeded(number: int) -> Iterator[None]:
    """The RNGs of torch, Python and NumPy seeded with `number`, for samplers that use them; restored afterwards."""
    with rng_state.preserved_rng():
        # Only the CPU's generator: those of GPUs belong to the model.
        torch.default_generator.manual_seed(number)
        random.seed(number)
        np.random.seed(number % (1 << 32))
        yield
