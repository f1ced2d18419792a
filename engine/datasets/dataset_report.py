"""Progress and summary of opening a run's data set: drawing, scanning, DataReady. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from gputrain.engine.common import past_durations
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.dataloading import batch_sampler
from gputrain.engine.datasets.demo import demo_dataset
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.events import DataReady, Phase
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import StopRequested, TrainerControl

_MAX_CLASS_NAMES = 1000
Data = TypeVar("Data")


def with_data_dir(config: RunConfig, reporter: EventReporter, control: TrainerControl) -> RunConfig:
    """`config` with its data folder; draws the demo images if they are missing. Raises StopRequested."""
    if config.data.dataset == "demo" and not config.data.data_dir:
        place = msgspec.structs.replace(config.data, data_dir=_draw(reporter, control))
        return msgspec.structs.replace(config, data=place)
    return config


def timed_scan(
    config: RunConfig, reporter: EventReporter, control: TrainerControl, read: Callable[[Callable[[int], None]], Data]
) -> Data:
    """The result of `read`, which calls its argument with the number of images found so far.

    Reports progress, with the number of the last scan of the same data as the total.
    """
    reporter.phase(Phase.SCANNING_DATA, plain(config.data.data_dir, 200))
    key = f"scan {config.data.dataset} {config.data.data_dir}"
    previous = past_durations.recall(key)
    began, last_count = time.perf_counter(), 0

    def found(count: int) -> None:
        nonlocal last_count
        last_count = count
        # As many as last time, unless there are already more.
        total = previous.count if previous is not None and previous.count and count <= previous.count else None
        reporter.progress(count, total, "images")
        control.raise_if_stopped()

    data = read(found)
    past_durations.remember(key, time.perf_counter() - began, last_count)
    return data


def _draw(reporter: EventReporter, control: TrainerControl) -> str:
    reporter.phase(Phase.DRAWING_DATA)

    def stop() -> bool:
        control.poll()
        return bool(control.stop)

    try:
        return str(demo_dataset.ensure_demo(lambda done, total: reporter.progress(done, total, "images"), stop))
    except demo_dataset.DemoStopped:
        raise StopRequested(control.reason) from None


def report_dataset(
    config: RunConfig, reporter: EventReporter, train: ImageSet, val: ImageSet | None, seconds: float
) -> None:
    """Send DataReady: numbers of images, classes, batches per epoch and skipped files; warn of unreadable pictures."""
    scan = train.scan_result.merged(val.scan_result) if val is not None else train.scan_result
    for text in scan.texts():
        reporter.notice("info", f"skipped in the folders of images: {text}")
    for text in scan.warnings():
        reporter.notice("warning", text)
    samples = len(train) // train.group
    batch_size = batch_sampler.batch_size_that_fits(config.data.batch_size, samples, config.devices)
    reporter.send(
        DataReady(
            dataset=config.data.dataset,
            path=plain(config.data.data_dir, 1000),
            train_images=len(train),
            val_images=len(val) if val is not None else 0,
            classes=tuple(plain(name, 100) for name in train.classes[:_MAX_CLASS_NAMES]),
            class_count=len(train.classes),
            batches_per_epoch=batch_sampler.batch_count(samples, batch_size, drop_last=True, ranks=config.devices),
            seconds=seconds,
            skipped=tuple((plain(kind, 60), count) for kind, count in scan.counts),
        )
    )
