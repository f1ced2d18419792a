"""Measures images per second of one core from image files and from each cache format.

Some images of the data set are kept in memory in each format; the same crops are then made from each.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from gputrain.engine.configuration.progressive_resizing import ImageSizeSchedule
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.dataloading.batch_sampler import Indices
from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.estimates.calibration import CachedCost
from gputrain.engine.training.cache.cache_forms import CachedImage, CacheForm
from gputrain.engine.training.cache.image_cache import form_of
from gputrain.engine.training.loader import make_loader
from gputrain.engine.training.transforms.decode import BadImage, Choose
from gputrain.engine.training.workers import worker_pool
from gputrain.engine.training.workers.fill_batch import BatchFiller, BatchSlot, FileSource, ImageSource, read_image

_IMAGES = 48
"""Number of images, in whole samples, spread over the data set."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An `ImageSource` of images in a cache format, in memory."""

    form: CacheForm
    kept: dict[int, CachedImage]

    def render(self, index: int, choose: Choose, out: torch.Tensor, meter: BatchAccounting) -> None:
        """See `ImageSource`."""
        self.form.render(self.kept[index], choose, out)
        meter.hit()


def cached_costs(images: ImageSet, config: RunConfig, seconds: float) -> tuple[CachedCost, ...]:
    """Cost of each cache format, measured for `seconds` in all; empty for data that are not image files."""
    if images.user_dataset is not None or images.pixels is not None:
        return ()
    count = max(1, min(_IMAGES, len(images)) // images.group)
    samples = np.unique(np.linspace(0, len(images) // images.group - 1, count).astype(np.int64))
    indices = (samples[:, None] * images.group + np.arange(images.group)).reshape(-1)
    meter = BatchAccounting()
    try:
        with worker_pool.single_threaded():
            return _costs(images, config, indices, seconds / 3, meter)
    except BadImage:
        # The run will report and replace the image; here there is no measurement then.
        return ()
    finally:
        meter.close()


def _costs(
    images: ImageSet,
    config: RunConfig,
    indices: Indices,
    seconds: float,
    meter: BatchAccounting,
) -> tuple[CachedCost, ...]:
    files = {index: read_image(images, index, meter) for index in indices.tolist()}
    mean = sum(map(len, files.values())) / len(files)
    costs = [CachedCost("none", _per_core(images, config, FileSource(images), indices, seconds, meter), mean)]
    for name in ("raw", "jpeg"):
        form = form_of(name, images, config, train=True)
        kept = {index: form.encode(data, images.place(index)) for index, data in files.items()}
        mean = sum(len(one.content) for one in kept.values()) / len(kept)
        rate = _per_core(images, config, _Prepared(form, kept), indices, seconds, meter)
        costs.append(CachedCost(name, rate, mean))
    return tuple(costs)


def _per_core(
    images: ImageSet,
    config: RunConfig,
    source: ImageSource,
    indices: Indices,
    seconds: float,
    meter: BatchAccounting,
) -> float:
    """Images per second of CPU time of this thread."""
    size, count = config.data.image_size, len(indices)
    pixels = torch.empty((count, size, size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    slot = BatchSlot(pixels, torch.empty(count, dtype=torch.int64), torch.empty(count, dtype=torch.int64))
    view = make_loader.crop_of(config, train=True)
    filler = BatchFiller(images, source, view, ImageSizeSchedule(size, size, 0), config.seed, len(images))
    filler.fill(slot, 0, indices, meter, lambda: False)  # warm-up: kernels are selected with the first image
    began, before, epoch = time.perf_counter(), time.thread_time(), 0
    while not epoch or time.perf_counter() - began < seconds:
        epoch += 1
        filler.fill(slot, epoch, indices, meter, lambda: False)
    return epoch * count / (time.thread_time() - before)
