"""The order of an epoch over shards: windows of shards in random order, shuffled within; pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

_SHARDS, _IN_WINDOW = 8, 9
"""Counter words that separate these random streams from the others under the same (seed, epoch) key."""


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """How samples are shuffled if they lie in shards."""

    starts: Indices
    """(shards + 1,): the index of each shard's first sample, and the number of samples."""
    window: int
    """Shards that are shuffled together."""

    def windows(self, seed: int, epoch: int) -> list[Indices]:
        """The shards of each window of an epoch, in the order of use."""
        count = len(self.starts) - 1
        keys = np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, _SHARDS]).random_raw(count)
        order: Indices = np.argsort(keys, kind="stable")
        return [order[start : start + self.window] for start in range(0, count, self.window)]

    def permutation(self, seed: int, epoch: int) -> Indices:
        """The order of all samples in an epoch, shape (count,): one window after the other."""
        count = int(self.starts[-1])
        keys = np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, _IN_WINDOW]).random_raw(count)
        order = np.empty(count, dtype=np.int64)
        position = 0
        for window in self.windows(seed, epoch):
            samples = np.concatenate(list(self._samples(window)))
            shuffled = samples[np.argsort(keys[samples], kind="stable")]
            order[position : position + len(shuffled)] = shuffled
            position += len(shuffled)
        return order

    def _samples(self, shards: Indices) -> Iterator[Indices]:
        for shard in shards.tolist():
            yield np.arange(self.starts[shard], self.starts[shard + 1], dtype=np.int64)
