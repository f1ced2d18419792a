"""Data pipeline of a run: training loader and device prefetcher, whose settings can change during training."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

import torch

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.training.distributed.process_group import SingleProcess
from gputrain.engine.training.loader.make_loader import AnyLoader
from gputrain.engine.training.loader.run_loaders import RunLoaders
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.tasks.task import Task
from gputrain.engine.training.transforms.device_transforms import DeviceBatch, DevicePrefetcher


class DataPipeline:
    """The training loader and its device prefetcher."""

    def __init__(
        self,
        loaders: RunLoaders,
        images: ImageSet,
        config: RunConfig,
        compute: Compute,
        task: Task,
        ranks: SingleProcess,
    ) -> None:
        """Raises BadInput."""
        self._loaders, self._images, self._compute, self._task, self._ranks = loaders, images, compute, task, ranks
        self.loader: AnyLoader = loaders.first(images, config, train=True)
        self.feed = self._feed(config)

    def __len__(self) -> int:
        """Steps of an epoch. In each, every rank has a batch; in the last one perhaps only the first ranks."""
        return math.ceil(self.loader.all_batches / self._ranks.count)

    def batches_in(self, step: int) -> int:
        """Batches of all ranks in a step of an epoch."""
        return min(self._ranks.count, self.loader.all_batches - step * self._ranks.count)

    @property
    def batch_images(self) -> int:
        """Images of one batch."""
        return self.loader.batch_images

    def batches(self, epoch: int, start: int, clock: StepClock) -> Generator[DeviceBatch, None, None]:
        """The batches of an epoch from batch `start` on, on the device; the generator may be closed early."""
        return self.feed.batches(self.loader.epoch(epoch, start), clock)

    def change(self, wanted: Callable[[], RunConfig]) -> RunConfig:
        """Switch to the settings that `wanted` returns, from the next batch on; the batches stay the same.

        Raises BadInput, without any change, if this rank or another one cannot use them.
        """
        failed = None
        try:
            config = wanted()
            loader = self._loaders.make(self._images, config, train=True)
        except BadInput as error:
            failed = error
        if any(self._ranks.all_reduce_max([failed is not None])):
            if failed is None:
                loader.close()
            raise failed or BadInput("another rank cannot use it")
        if self._compute.is_gpu:
            # Copies from the old loader's page-locked memory may be running.
            torch.cuda.synchronize(self._compute.device)
        self.loader.close()
        self.loader, self.feed = loader, self._feed(config)
        return config

    def _feed(self, config: RunConfig) -> DevicePrefetcher:
        return DevicePrefetcher(config, self._compute, train=True, task=self._task, rank=self._ranks.rank)
