"""Child process (``python -m``) that fills the image caches of a configuration, for `jobs.build_image_cache`."""

from __future__ import annotations

import time

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.units import duration
from gputrain.engine.jobs.build_image_cache import BuildOrder, BuiltCaches
from gputrain.engine.processes.child_entry import serve_job
from gputrain.engine.processes.child_job import ProgressCallback
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl

_BAD_NAMED = 20


class BuildProgress:
    """Progress of a split's cache as text: images done, rate, time left."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._first: tuple[float, int] | None = None

    def words(self, done: int, total: int) -> str:
        """The text for `done` images; images that an earlier build cached do not count towards the rate."""
        now = time.monotonic()
        began, before = self._first = self._first or (now, done)
        text = f"{self._name} images: {done} of {total}"
        if now - began < 1 or done <= before:
            return text
        rate = (done - before) / (now - began)
        return f"{text}, {rate:.0f} a second, {duration((total - done) / rate)} left"


def _work(order: BuildOrder, reporter: EventReporter, control: TrainerControl, tell: ProgressCallback) -> BuiltCaches:
    from gputrain.engine.datasets.image_set import ImageSet
    from gputrain.engine.training.cache.build_cache import BuiltCache, build_cache
    from gputrain.engine.training.readers import reader_registry

    images = reader_registry.open_dataset(order.config, reporter, control)
    built: list[BuiltCache] = []
    for split, name in ((images.train, "training"), (images.val, "validation")):
        if split is None:
            continue
        if not isinstance(split, ImageSet) or split.pixels is not None or split.user_dataset is not None:
            raise BadInput("these data are not read from image files: there is nothing to cache")

        def progress(done: int, total: int, pace: BuildProgress = BuildProgress(name)) -> None:  # noqa: B008 - one for each split
            control.raise_if_stopped()
            tell(pace.words(done, total))

        built.append(build_cache(split, order.config, progress, train=split is images.train))
    return BuiltCaches(
        folders=tuple(str(one.folder) for one in built),
        images=sum(one.images for one in built),
        bytes=sum(one.used_bytes for one in built),
        bad=tuple(reason for one in built for reason in one.bad)[:_BAD_NAMED],
        notes=tuple(one.note for one in built),
    )


if __name__ == "__main__":
    serve_job(BuildOrder, _work)
