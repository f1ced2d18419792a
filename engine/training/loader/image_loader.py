"""Image loader: batches of an image set, with an order and crops that depend on (seed, epoch, index) alone.

Index → file bytes → decoded region → antialiased resize → slot in a uint8 batch that was allocated (and pinned) once.
Nothing is pickled, collated, converted or copied; flips, colours and normalisation run on the device.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import msgspec

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.dataloading import batch_sampler
from gputrain.engine.dataloading.lock_waits import LockWaitSampler
from gputrain.engine.dataloading.shard_order import ShardOrder
from gputrain.engine.dataloading.worker_accounting import WorkerTally, loader_stats
from gputrain.engine.datasets import bad_image_list
from gputrain.engine.events import LoaderStats
from gputrain.engine.training.cache.image_cache import CachedSource
from gputrain.engine.training.loader.remote_prefetch import RemotePrefetch
from gputrain.engine.training.loader.shard_readahead import ShardReadahead
from gputrain.engine.training.runtime.batch import Batch
from gputrain.engine.training.workers.fill_batch import BatchFiller
from gputrain.engine.training.workers.slot_buffer import SlotShape
from gputrain.engine.training.workers.worker_pool import FilledBatch, IndexStream, WorkerPool

_EXAMPLES = 10
"""Bad images that one report names."""

OnBad = Callable[[list[tuple[str, str]]], None]
"""Called with path and reason of newly found bad images."""


class ImageLoader:
    """A `BatchSource` over a worker pool. One epoch at a time: requesting another closes the previous one.

    At the end of an epoch the workers prefetch the next one while the model is validated and saved, as far as there are
    free slots, so that it begins without a wait.
    """

    def __init__(
        self,
        filler: BatchFiller,
        pool: WorkerPool,
        shape: SlotShape,
        cache: CachedSource | None,
        on_bad: OnBad,
        *,
        train: bool,
        ahead: int,
        dealt: tuple[int, int] = (0, 1),
        shards: ShardOrder | None = None,
    ) -> None:
        """`ahead`: number of epochs up to which workers prefetch the next epoch; 0: they stop at the end of each.

        `dealt`: this rank, and the number of ranks over which the batches are distributed. `shards`: shuffle by windows
        of shards.
        """
        self.note = cache.note if cache else ""
        """What the cache keeps, as a sentence for the user; empty without a cache."""
        self._images = filler.images
        self._growth = filler.growth
        self._cache = cache
        self._pool = pool
        self._seed = filler.seed
        self._max_bad = filler.max_bad
        self._on_bad = on_bad
        self._batch_size = shape.batch_size // filler.images.group
        self._train = train
        self._rank, self._ranks = dealt
        self._shards = shards
        images = filler.images.shards
        self._readahead: ShardReadahead | RemotePrefetch | None = None
        self._remote: RemotePrefetch | None = None
        """Fetches remote shards ahead of their use."""
        if images is not None and images.remote is not None:
            ahead_of_use = RemotePrefetch(images, shards, filler.seed, shuffled=train)
            self._readahead = ahead_of_use
            if not images.remote.is_local:
                self._remote = ahead_of_use
        elif images is not None and shards is not None:
            self._readahead = ShardReadahead(images, shards, filler.seed)
        self._ahead = ahead
        self._tally = WorkerTally()
        self._locks = LockWaitSampler(threads=pool.kind == "threads")
        self._since = time.perf_counter()
        self._bad: dict[int, str] = {}
        self._reported_bad = 0
        self._running: Iterator[Batch] | None = None
        self._filled: Iterator[FilledBatch] | None = None
        """Filled batches from the workers, from epoch and batch `_next` on."""
        self._next = (0, 0)
        self._closed = False

    def __len__(self) -> int:
        """Batches of this rank per epoch."""
        return math.ceil(max(0, self.all_batches - self._rank) / self._ranks)

    @property
    def all_batches(self) -> int:
        """Batches of all ranks per epoch."""
        samples = len(self._images) // self._images.group
        return batch_sampler.batch_count(samples, self._batch_size, drop_last=self._train)

    @property
    def batch_images(self) -> int:
        """Images of a training batch."""
        return self._batch_size * self._images.group

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from batch `start` on; see `BatchSource`.

        Raises BadInput if more than ``max_bad_images`` files are unreadable, WorkerError if a worker dies.
        """
        assert not self._closed, "the loader is closed"
        self._end_epoch()
        self._running = self._epoch(epoch, start)
        return self._running

    def _epoch(self, epoch: int, start: int) -> Iterator[Batch]:
        if start >= len(self):
            return
        filled = self._filled_from(epoch, start)
        try:
            for number in range(start, len(self)):
                batch = next(filled)
                self._account(batch)
                self._next = (epoch, number + 1) if number + 1 < len(self) else (epoch + 1, 0)
                yield self._batch(batch, epoch, number)
        finally:
            if self._next != (epoch + 1, 0) or epoch + 1 >= self._ahead:
                self._stop_filling()
            if self._cache is not None:
                self._cache.commit()

    def _filled_from(self, epoch: int, start: int) -> Iterator[FilledBatch]:
        """Filled batches from there on; the workers may have prefetched them."""
        if self._filled is None or self._next != (epoch, start):
            self._stop_filling()
            self._next = (epoch, start)
            self._filled = self._pool.run(self._index_stream(epoch, start))
        return self._filled

    def _index_stream(self, epoch: int, start: int) -> IndexStream:
        """Epoch and image indices of each batch, from there to the end of the epoch, or of the training."""
        samples, group = len(self._images) // self._images.group, self._images.group
        for each in range(epoch, max(epoch + 1, self._ahead)):
            batches = batch_sampler.batches(
                samples,
                self._batch_size,
                seed=self._seed,
                epoch=each,
                shuffle=self._train,
                drop_last=self._train,
                group=group,
                rank=self._rank,
                ranks=self._ranks,
                shards=self._shards,
            )
            for number in range(start if each == epoch else 0, len(batches)):
                if self._readahead is not None:
                    self._readahead.at(each, (number * self._ranks + self._rank) * self._batch_size)
                yield each, batches.indices(number)

    def _stop_filling(self) -> None:
        if self._filled is not None:
            _close(self._filled)
            self._filled = None

    def queue(self) -> tuple[int, int]:
        """See `BatchSource`."""
        self._locks.sample()
        return self._pool.queue()

    def take_stats(self) -> LoaderStats:
        """See `BatchSource`."""
        now = time.perf_counter()
        tally, seconds = self._tally, now - self._since
        self._tally, self._since = WorkerTally(), now
        if self._remote is not None:
            tally.downloaded += self._remote.take_downloaded()
        new = list(self._bad.items())[self._reported_bad :]
        self._reported_bad = len(self._bad)
        stats = loader_stats(
            tally,
            workers=self._pool.workers,
            kind=self._pool.kind,
            seconds=seconds,
            lock_share=self._locks.take_share(),
            slowest_image=plain(self._images.path(tally.slowest_index), 300) if tally.slowest_index >= 0 else "",
            remote=self._remote is not None,
        )
        return msgspec.structs.replace(
            stats,
            cache_hits=None if self._cache is None else tally.cached,
            cache_repaired=tally.repaired,
            bad_images=len(new),
            bad_examples=tuple(self._describe(index, why) for index, why in new[:_EXAMPLES]),
        )

    def close(self) -> None:
        """See `BatchSource`."""
        self._end_epoch()
        self._stop_filling()
        self._pool.close()
        self._locks.close()
        if self._readahead is not None:
            self._readahead.close()
        if self._cache is not None:
            self._cache.close()
        self._closed = True

    def _end_epoch(self) -> None:
        if self._running is not None:
            _close(self._running)
            self._running = None

    def _account(self, filled: FilledBatch) -> None:
        """Add a batch to the tally. Raises the batch's error, or BadInput for too many bad images."""
        self._tally.add(filled.tally)
        if self._pool.kind != "inline":
            self._locks.watch(filled.tally.thread)
        new = {index: why for index, why in filled.bad if index not in self._bad}
        if new:
            self._bad |= new
            self._on_bad([(self._images.path(index), why) for index, why in new.items()])
        if filled.error is not None:
            raise filled.error
        if filled.overrun or len(self._bad) > self._max_bad:
            raise BadInput(self._too_many())

    def _too_many(self) -> str:
        index, why = next(iter(self._bad.items()))
        first = f"the first is {self._describe(index, why)}. Repair or remove them ({bad_image_list.LIST} has them all)"
        if len(self._bad) == len(self._images):
            return f"none of the {len(self._images)} images can be read; {first}"
        limit = f"more than max_bad_images ({self._max_bad})"
        return f"{len(self._bad)} images cannot be read, {limit}; {first}, or raise max_bad_images"

    def _describe(self, index: int, why: str) -> str:
        return f"{plain(self._images.path(index), 300)}: {why}"

    def _batch(self, filled: FilledBatch, epoch: int, number: int) -> Batch:
        slot, count = self._pool.slot(filled.slot), filled.count
        return Batch(
            images=slot.sized(self._growth.at(epoch))[:count],
            labels=slot.labels[:count],
            indices=slot.indices[:count],
            epoch=epoch,
            number=number,
        )


def _close(iterator: Iterator[object]) -> None:
    """Close a generator now instead of when it is garbage-collected."""
    close = getattr(iterator, "close", None)
    if close is not None:
        close()
