"""The loader: batches of an image set in an order and with crops that depend on (seed, epoch, index) alone.

Index → file bytes → decoded region → antialiased resize → its place in a uint8 batch that was allocated (and pinned)
once. Nothing is pickled, collated, converted or copied on the way; flips, colours and normalisation are the device's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import progressive_resizing, settings
from gputrain.engine.configuration.progressive_resizing import ImageSizeSchedule
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.dataloading import batch_sampler
from gputrain.engine.dataloading.lock_waits import LockWaitSampler
from gputrain.engine.dataloading.random_resized_crop import CropDraw
from gputrain.engine.dataloading.worker_accounting import WorkerTally, loader_stats
from gputrain.engine.datasets import bad_images
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.events import LoaderStats
from gputrain.engine.training.cache.image_cache import CachedSource, open_cache
from gputrain.engine.training.runtime.batch import Batch
from gputrain.engine.training.userdata.user_loader import UserLoader
from gputrain.engine.training.workers import slot_buffer
from gputrain.engine.training.workers.fill_batch import BatchFiller, source_of
from gputrain.engine.training.workers.process_workers import ProcessWorkerPool
from gputrain.engine.training.workers.slot_buffer import SlotShape
from gputrain.engine.training.workers.thread_workers import InlineWorker, ThreadWorkerPool
from gputrain.engine.training.workers.worker_pool import FilledBatch, IndexStream, WorkerPool

MAX_THREADS = 8
"""Workers up to which ``loader: auto`` takes threads: each image needs 10–40 µs of the interpreter's lock."""
_EXAMPLES = 10
"""Bad images that are named in one report."""

OnBad = Callable[[list[tuple[str, str]]], None]
"""Called with path and reason of bad images when they are met for the first time."""


def make_loader(
    images: ImageSet,
    config: RunConfig,
    *,
    train: bool,
    pin: bool,
    on_bad: OnBad = lambda found: None,
    on_warning: Callable[[str], None] = lambda text: None,
    on_scan: Callable[[int, int], None] | None = None,
    rank: int = 0,
    ranks: int = 1,
) -> AnyLoader:
    """The batches of `images` for training (shuffled, augmented, without a smaller last batch) or validation.

    Where `ranks` train together, the batches of `rank`. With `pin` they lie in page-locked memory; `on_warning` is told
    in words of what was mended (a data worker that was killed), `on_scan` of the files that were looked at for a cache,
    and their number. Raises BadInput where there is no room for the ring or the cache.
    """
    if images.user_dataset is not None:
        return UserLoader(
            images.user_dataset, config, train=train, pin=pin, on_warning=on_warning, rank=rank, ranks=ranks
        )
    data = config.data
    batch_size = data.batch_size if train else data.val_batch_size or data.batch_size
    batch_size = batch_sampler.batch_size_that_fits(batch_size, len(images) // images.group, ranks if train else 1)
    cache = open_cache(images, config, train=train, progress=on_scan) if images.pixels is None else None
    max_bad = bad_images.bad_image_limit(data.max_bad_images, len(images))
    growth = (
        progressive_resizing.image_size_schedule(settings.flatten(config))
        if train
        else ImageSizeSchedule(data.image_size, data.image_size, 0)
    )
    filler = BatchFiller(images, cache or source_of(images), crop_of(config, train=train), growth, config.seed, max_bad)
    # The loop holds one batch, so that the workers have num_workers × prefetch_factor to fill.
    shape = SlotShape(data.num_workers * data.prefetch_factor + 1, batch_size * images.group, data.image_size)
    pool = _worker_pool(filler, shape, config, on_warning, pin=pin)
    ahead = config.epochs if train and data.num_workers and data.persistent_workers else 0
    return ImageLoader(filler, pool, shape, cache, on_bad, train=train, ahead=ahead, dealt=(rank, ranks))


def crop_of(config: RunConfig, *, train: bool) -> CropDraw:
    """How samples are cut from images."""
    data = config.data
    if train and data.augment == "crop_flip":
        return CropDraw("random", data.image_size, data.val_resize, data.crop_min_scale)
    return CropDraw("centre", data.image_size, data.val_resize)


def _worker_pool(
    filler: BatchFiller, shape: SlotShape, config: RunConfig, on_warning: Callable[[str], None], *, pin: bool
) -> WorkerPool:
    workers = config.data.num_workers
    kind = config.data.loader
    if workers and (kind == "processes" or (kind == "auto" and workers > MAX_THREADS)):
        return ProcessWorkerPool(
            filler,
            shape,
            workers,
            config.data.prefetch_factor,
            on_warning,
            persistent=config.data.persistent_workers,
            pin=pin,
        )
    slots = slot_buffer.slots_in(slot_buffer.private_memory(shape, pin=pin), shape)
    return ThreadWorkerPool(filler, slots, workers) if workers else InlineWorker(filler, slots)


class ImageLoader:
    """A `BatchSource` over a crew of workers. One epoch at a time: asking for another ends the one before.

    At the end of an epoch the workers go on with the next one while the model is validated and saved, as far as there
    are slots, so that the next one begins without a wait.
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
    ) -> None:
        """`ahead`: the number of epochs in whose course workers go from one into the next; 0: they stop at each end.

        `dealt`: a rank, and the number of ranks that the batches are dealt to.
        """
        self.note = cache.note if cache else ""
        """What the cache will keep, in a sentence for a person; empty without one."""
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
        self._ahead = ahead
        self._tally = WorkerTally()
        self._locks = LockWaitSampler(threads=pool.kind == "threads")
        self._since = time.perf_counter()
        self._bad: dict[int, str] = {}
        self._reported_bad = 0
        self._running: Iterator[Batch] | None = None
        self._filled: Iterator[FilledBatch] | None = None
        """What the workers make, from epoch and batch `_next` on."""
        self._next = (0, 0)
        self._closed = False

    def __len__(self) -> int:
        """Batches per epoch."""
        samples = len(self._images) // self._images.group
        return batch_sampler.batch_count(
            samples, self._batch_size, drop_last=self._train, rank=self._rank, ranks=self._ranks
        )

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from batch `start` on; see `BatchSource`.

        Raises BadInput when more than ``max_bad_images`` files are unreadable, WorkerError when a worker dies.
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
        """What the workers make from there on; they may be at it already."""
        if self._filled is None or self._next != (epoch, start):
            self._stop_filling()
            self._next = (epoch, start)
            self._filled = self._pool.run(self._index_stream(epoch, start))
        return self._filled

    def _index_stream(self, epoch: int, start: int) -> IndexStream:
        """What is to be made, from there to the end of the epoch, or of the training."""
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
            )
            for number in range(start if each == epoch else 0, len(batches)):
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
        new = list(self._bad.items())[self._reported_bad :]
        self._reported_bad = len(self._bad)
        stats = loader_stats(
            tally,
            workers=self._pool.workers,
            kind=self._pool.kind,
            seconds=seconds,
            lock_share=self._locks.take_share(),
            slowest_image=plain(self._images.path(tally.slowest_index), 300) if tally.slowest_index >= 0 else "",
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
        if self._cache is not None:
            self._cache.close()
        self._closed = True

    def _end_epoch(self) -> None:
        if self._running is not None:
            _close(self._running)
            self._running = None

    def _account(self, filled: FilledBatch) -> None:
        """Add up a batch's figures. Raises what went wrong with it."""
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
        first = f"the first is {self._describe(index, why)}. Repair or remove them ({bad_images.LIST} has them all)"
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


AnyLoader = ImageLoader | UserLoader
"""Batches with what they are made by, in a `note`."""


def _close(iterator: Iterator[object]) -> None:
    """Close a generator at once instead of when it is collected."""
    close = getattr(iterator, "close", None)
    if close is not None:
        close()
