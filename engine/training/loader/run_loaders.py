"""Creates a run's loaders for training and validation."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.bad_image_list import BadImages
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.events import Phase
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.training.distributed.process_group import SingleProcess
from gputrain.engine.training.loader.make_loader import AnyLoader, make_loader
from gputrain.engine.training.runtime.device import Compute


class RunLoaders:
    """Creates loaders, and registers them with `stack`, which closes them; closing twice is harmless."""

    def __init__(
        self,
        stack: contextlib.ExitStack,
        compute: Compute,
        reporter: EventReporter,
        bad_images: BadImages,
        ranks: SingleProcess,
    ) -> None:
        self._stack = stack
        self._compute = compute
        self._reporter = reporter
        self._bad_images = bad_images
        self._ranks = ranks

    def first(self, images: ImageSet, config: RunConfig, *, train: bool) -> AnyLoader:
        """`make`, with progress of the cache's scan and a notice about the cache."""
        scan = _ScanProgress(self._reporter, config.model.model)
        loader = self.make(images, config, train=train, on_scan=scan.update)
        scan.close()
        if loader.note:
            self._reporter.notice("info", loader.note)
        return loader

    def make(
        self,
        images: ImageSet,
        config: RunConfig,
        *,
        train: bool,
        on_scan: Callable[[int, int], None] | None = None,
    ) -> AnyLoader:
        """A loader of `images`; `on_scan` as in `make_loader`. Raises BadInput."""
        loader = make_loader(
            images,
            config,
            train=train,
            pin=config.data.pin_memory and self._compute.is_gpu,
            on_bad=functools.partial(self._bad_images.add, "training" if train else "validation"),
            on_warning=functools.partial(self._reporter.notice, "warning"),
            on_scan=on_scan,
            rank=self._ranks.rank,
            ranks=self._ranks.count,
        )
        return self._stack.enter_context(contextlib.closing(loader))


class _ScanProgress:
    """Reports the progress of a scan, if it needs more than one step."""

    def __init__(self, reporter: EventReporter, model: str) -> None:
        self._reporter, self._model = reporter, model
        self._shown = False

    def update(self, done: int, total: int) -> None:
        if not self._shown and done < total:
            self._shown = True
            self._reporter.phase(Phase.SCANNING_DATA, "files for the cache")
        if self._shown:
            self._reporter.progress(done, total, "files")

    def close(self) -> None:
        if self._shown:
            self._reporter.phase(Phase.BUILDING, self._model)
