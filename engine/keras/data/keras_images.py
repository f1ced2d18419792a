"""Image sets of a Keras run, found as in the PyTorch engine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from gputrain.engine.configuration import normalization
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.configuration.value_range import ValueRange
from gputrain.engine.datasets import dataset_report, image_set, value_range_scan
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl


def prepare(config: RunConfig, reporter: EventReporter, control: TrainerControl) -> tuple[ImageSet, ImageSet | None]:
    """Training and validation images. Raises BadInput naming what is wrong with the folder, StopRequested."""
    began = time.perf_counter()
    config = dataset_report.with_data_dir(config, reporter, control)
    data = config.data

    def read(found: Callable[[int], None]) -> tuple[ImageSet, ImageSet | None]:
        return image_set.scan_splits(data, found)

    train, val = dataset_report.timed_scan(config, reporter, control, read)
    chosen, warnings = value_range_scan.range_of(config)
    for text in warnings:
        reporter.notice("warning", text)
    train, val = with_decoding(train, config, chosen), None if val is None else with_decoding(val, config, chosen)
    dataset_report.report_dataset(config, reporter, train, val, time.perf_counter() - began)
    return train, val


def with_decoding(images: ImageSet, config: RunConfig, chosen: ValueRange | None) -> ImageSet:
    """`images` with the interpolation of the settings, and deep grey images in the range `chosen`."""
    decoding = images.decoding._replace(value_range=chosen, interpolation=normalization.interpolation_of(config.data))
    return dataclasses.replace(images, decoding=decoding)
