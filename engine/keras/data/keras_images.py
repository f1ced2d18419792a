"""The images of a run of Keras: found as those of torch, and looked at for what TensorFlow would show otherwise."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from PIL import ExifTags, Image

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.keras_compatibility import EXTENSIONS
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.datasets import dataset_report, image_set
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl

_LOOKED_AT = 64


def prepare(config: RunConfig, reporter: EventReporter, control: TrainerControl) -> tuple[ImageSet, ImageSet | None]:
    """Training and validation images. Raises BadInput naming what is wrong with the folder, StopRequested."""
    began = time.perf_counter()
    config = dataset_report.with_data_dir(config, reporter, control)
    data = config.data

    def read(found: Callable[[int], None]) -> tuple[ImageSet, ImageSet | None]:
        train = image_set.scan(data.data_dir, data.train_split, progress=found)
        if not data.val_split:
            return train, None
        val = image_set.scan(data.data_dir, data.val_split, setting="val_split", classes=train.classes, progress=found)
        return train, val

    train, val = dataset_report.timed_scan(config, reporter, control, read)
    for one in (train, val):
        if one is not None:
            check_names(one)
    if turned := _turned(train):
        reporter.notice(
            "warning",
            f"{turned} of {min(_LOOKED_AT, len(train))} images that were looked at are to be turned by their Exif "
            "data, which TensorFlow does not do: turn the files, or set engine=torch",
        )
    dataset_report.report_dataset(config, reporter, train, val, time.perf_counter() - began)
    return train, val


def check_names(found: ImageSet) -> None:
    """Raises BadInput for the first file that TensorFlow has no decoder for, by its name."""
    for index in range(len(found)):
        name = found.name(index)
        if not name.lower().endswith(EXTENSIONS):
            raise BadInput(
                f"{plain(found.path(index), 300)}: TensorFlow reads {', '.join(EXTENSIONS)} only; "
                "convert such files, or set engine=torch"
            )


def _turned(found: ImageSet) -> int:
    """How many of some images have an orientation other than the upright one."""
    count = 0
    for index in range(0, len(found), max(1, len(found) // _LOOKED_AT)):
        # What can't be read is told by the loader.
        with contextlib.suppress(Exception), Image.open(found.path(index)) as image:
            count += image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return count
