"""Creates the loader of a data set: crops, worker pool, slot buffer and cache as the settings ask."""

from __future__ import annotations

from collections.abc import Callable

from gputrain.engine.configuration import progressive_resizing, settings
from gputrain.engine.configuration.progressive_resizing import ImageSizeSchedule
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.dataloading import batch_sampler
from gputrain.engine.dataloading.random_resized_crop import CropDraw
from gputrain.engine.dataloading.shard_order import ShardOrder
from gputrain.engine.datasets import bad_image_list
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.training.cache.image_cache import open_cache
from gputrain.engine.training.loader.image_loader import ImageLoader, OnBad
from gputrain.engine.training.userdata.user_loader import UserLoader
from gputrain.engine.training.workers import slot_buffer
from gputrain.engine.training.workers.fill_batch import BatchFiller, source_of
from gputrain.engine.training.workers.process_workers import ProcessWorkerPool
from gputrain.engine.training.workers.slot_buffer import SlotShape
from gputrain.engine.training.workers.thread_workers import InlineWorker, ThreadWorkerPool
from gputrain.engine.training.workers.worker_pool import WorkerPool

MAX_THREADS = 8
"""Workers up to which ``loader: auto`` uses threads: each image needs 10–40 µs of the GIL."""

AnyLoader = ImageLoader | UserLoader
"""Loaders with a `note` about their cache."""


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

    With several `ranks`, the batches of `rank`. `pin`: in page-locked memory. `on_warning` gets a message for each
    recovered fault (a data worker that was killed); `on_scan` is called with the files checked for a cache so far and
    their number. Raises BadInput if there is no space for the slot buffer or the cache.
    """
    if images.user_dataset is not None:
        return UserLoader(
            images.user_dataset, config, train=train, pin=pin, on_warning=on_warning, rank=rank, ranks=ranks
        )
    data = config.data
    batch_size = data.batch_size if train else data.val_batch_size or data.batch_size
    batch_size = batch_sampler.batch_size_that_fits(batch_size, len(images) // images.group, ranks if train else 1)
    cache = open_cache(images, config, train=train, progress=on_scan) if images.pixels is None else None
    max_bad = bad_image_list.bad_image_limit(data.max_bad_images, len(images))
    growth = (
        progressive_resizing.image_size_schedule(settings.flatten(config))
        if train
        else ImageSizeSchedule(data.image_size, data.image_size, 0)
    )
    filler = BatchFiller(images, cache or source_of(images), crop_of(config, train=train), growth, config.seed, max_bad)
    # The loop holds one batch; the workers have num_workers × prefetch_factor slots to fill.
    shape = SlotShape(data.num_workers * data.prefetch_factor + 1, batch_size * images.group, data.image_size)
    pool = _worker_pool(filler, shape, config, on_warning, pin=pin)
    ahead = config.epochs if train and data.num_workers and data.persistent_workers else 0
    shards = _shard_order(images, config) if train else None
    return ImageLoader(filler, pool, shape, cache, on_bad, train=train, ahead=ahead, dealt=(rank, ranks), shards=shards)


def _shard_order(images: ImageSet, config: RunConfig) -> ShardOrder | None:
    if images.shards is None or config.data.shuffle != "shards":
        return None
    return ShardOrder(images.shards.starts, config.data.shuffle_window)


def crop_of(config: RunConfig, *, train: bool) -> CropDraw:
    """The crop of samples: random for training with ``augment: crop_flip``, else the centre."""
    data = config.data
    if train and data.augment == "crop_flip":
        return CropDraw("random", data.image_size, data.val_resize, data.crop_min_scale)
    return CropDraw("centre", data.image_size, data.val_resize, squash=data.crop_mode == "squash")


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
