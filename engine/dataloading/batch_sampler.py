"""Batch sampler: the image indices of each batch, a pure function of (seed, epoch) without state.

Batch k is the same for a resumed run, for other numbers of workers, and for a start in the middle of an epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gputrain.engine.dataloading.shard_order import ShardOrder

Indices = npt.NDArray[np.int64]

_ORDER = 1
"""Counter word that separates this random stream from the augmentation's under the same (seed, epoch) key."""


def permutation(seed: int, epoch: int, count: int) -> Indices:
    """The order of `count` samples in an epoch, shape (count,).

    Sorted random keys instead of ``Generator.permutation``: NumPy keeps the stream of a bit generator stable between
    versions, but not the methods of Generator, and a resumed run needs the same order.
    """
    keys = np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, _ORDER]).random_raw(count)
    order: Indices = np.argsort(keys, kind="stable")
    return order


@dataclass(frozen=True, slots=True)
class EpochBatches:
    """The batches of one epoch by number."""

    order: Indices
    """(count,): sample indices in the order of the epoch."""
    batch_size: int
    drop_last: bool
    """Drop the last batch if it is smaller than the others."""
    group: int = 1
    """Images per sample; they stay together."""
    rank: int = 0
    ranks: int = 1
    """Batches are distributed round-robin over so many ranks; these are those of `rank`."""

    def __len__(self) -> int:
        return batch_count(len(self.order), self.batch_size, drop_last=self.drop_last, rank=self.rank, ranks=self.ranks)

    def indices(self, number: int) -> Indices:
        """Image indices of batch `number` (from 0), shape (n × group,) with n ≤ batch_size."""
        if not 0 <= number < len(self):
            raise IndexError(f"batch {number} of {len(self)}")
        dealt = number * self.ranks + self.rank
        samples = self.order[dealt * self.batch_size : (dealt + 1) * self.batch_size]
        if self.group == 1:
            return samples
        images: Indices = (samples[:, None] * self.group + np.arange(self.group)).reshape(-1)
        return images


def batch_count(count: int, batch_size: int, *, drop_last: bool, rank: int = 0, ranks: int = 1) -> int:
    """Batches that `rank` has in an epoch over `count` samples; in the last step of all ranks the higher ones may have
    none. Rank 0's number is the number of steps.
    """
    every = count // batch_size if drop_last else -(-count // batch_size)
    return max(0, -(-(every - rank) // ranks))


def batches(
    count: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool,
    drop_last: bool,
    group: int = 1,
    rank: int = 0,
    ranks: int = 1,
    shards: ShardOrder | None = None,
) -> EpochBatches:
    """The batches of an epoch over `count` samples of `group` images each, or `rank`'s of them.

    With `shards`, samples are shuffled by windows of shards.
    """
    if not shuffle:
        order = np.arange(count, dtype=np.int64)
    else:
        order = permutation(seed, epoch, count) if shards is None else shards.permutation(seed, epoch)
    return EpochBatches(order, batch_size, drop_last, group, rank, ranks)


def batch_size_that_fits(batch_size: int, count: int, ranks: int = 1) -> int:
    """`batch_size`, or less where `count` samples are too few for one batch per rank."""
    return max(1, min(batch_size, count // ranks))
