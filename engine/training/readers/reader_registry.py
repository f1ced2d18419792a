"""Opens a run's data set: draws the demo images if needed, calls the layout's reader, and reports what it found."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from gputrain.engine.configuration import normalization
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets import dataset_report, value_range_scan
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.training.readers import (
    biwi,
    cifar10,
    clip_folders,
    custom_dataset,
    image_folder,
    lp300w,
    shards,
)
from gputrain.engine.training.readers.reader import OpenedDataset, Reader

_READERS: dict[str, Reader] = {
    "demo": image_folder.read,
    "imagefolder": image_folder.read,
    "webdataset": shards.read,
    "parquet": shards.read,
    "hf": shards.read,
    "imagenet": shards.read,
    "cifar10": cifar10.read,
    "300wlp": lp300w.read,
    "biwi": biwi.read,
    "clips": clip_folders.read,
    "custom": custom_dataset.read,
}


def _with_decoding(data: OpenedDataset, config: RunConfig, reporter: EventReporter) -> OpenedDataset:
    """`data` with value range and interpolation of the settings, for training and validation images alike."""
    changes: dict[str, Any] = {"interpolation": normalization.interpolation_of(config.data)}
    if data.train.pixels is None and data.train.user_dataset is None:
        changes["value_range"], warnings = value_range_scan.range_of(config)
        for text in warnings:
            reporter.notice("warning", text)

    def decoded(images: ImageSet) -> ImageSet:
        return dataclasses.replace(images, decoding=images.decoding._replace(**changes))

    return dataclasses.replace(data, train=decoded(data.train), val=None if data.val is None else decoded(data.val))


def open_dataset(config: RunConfig, reporter: EventReporter, control: TrainerControl) -> OpenedDataset:
    """Draw or find the images. Raises BadInput for a bad folder, StopRequested if the run is to stop."""
    began = time.perf_counter()
    config = dataset_report.with_data_dir(config, reporter, control)
    read = _READERS[config.data.dataset]
    data = dataset_report.timed_scan(config, reporter, control, lambda on_found: read(config, on_found))
    data = _with_decoding(data, config, reporter)
    data.task.check(config)
    for note in data.notes:
        reporter.notice("info", note)
    for text in data.warnings:
        reporter.notice("warning", text)
    if config.data.cache != "none":
        if data.train.pixels is not None:
            reporter.notice("info", f"cache={config.data.cache}: not needed, all images are in memory")
        elif data.train.user_dataset is not None:
            reporter.notice("warning", f"cache={config.data.cache}: not used for a custom data set")
    dataset_report.report_dataset(config, reporter, data.train, data.val, time.perf_counter() - began)
    return data
