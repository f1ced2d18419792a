"""Which images make which batch: a pure function of (seed, epoch), with nothing to carry along.

A run that is resumed, rebuilt with other workers or started in the middle of an epoch asks for batch k and gets the
same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

_ORDER = 1
"""Counter word that keeps this stream apart from the augmentation's under the same (seed, epoch) key."""


def permutation(seed: int, epoch: int, count: int) -> Indices:
    """The order of `count` samples in an epoch, shape (count,).

    Sorted random keys instead of ``Generator.permutation``: numpy keeps the stream of a bit generator stable between
    its versions, but not what a Generator makes of it, and a resumed run must find the same order.
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
    """Leave out a last batch that is smaller than the others."""
    group: int = 1
    """Images of one sample, which stay together."""
    rank: int = 0
    ranks: int = 1
    """The batches are dealt to so many ranks in turn; these are the ones of `rank`."""

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
    """Batches of an epoch over `count` samples that are dealt to `rank`; with `drop_last`, as many to each."""
    if drop_last:
        return count // batch_size // ranks
    return max(0, -(-(-(-count // batch_size) - rank) // ranks))


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
) -> EpochBatches:
    """The batches of an epoch over `count` samples of `group` images each, or `rank`'s of them."""
    order = permutation(seed, epoch, count) if shuffle else np.arange(count, dtype=np.int64)
    return EpochBatches(order, batch_size, drop_last, group, rank, ranks)


def batch_size_that_fits(batch_size: int, count: int, ranks: int = 1) -> int:
    """The size of batches of which each of `ranks` gets one from `count` samples: `batch_size`, or less of few."""
    return max(1, min(batch_size, count // ranks))
