"""Input images of a prediction: the validation images of the run, or any folder or file."""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import normalization
from gputrain.engine.configuration.sections.data_settings import AUTO, SHARDED
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets import value_range_scan
from gputrain.engine.datasets.image_set import ImageSet, files_in, found_at
from gputrain.engine.datasets.record_files import split_index
from gputrain.engine.datasets.shards import shard_patterns, shard_split
from gputrain.engine.imaging.decoding import Decoding
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.training.readers import reader_registry, shards
from gputrain.engine.training.tasks.classification import Classification
from gputrain.engine.training.tasks.head_pose import HeadPose
from gputrain.engine.training.tasks.task import Task

_CLASSES = ("demo", "imagefolder", *SHARDED, "cifar10")
_HEADS = ("300wlp", "biwi")


def validation_images(config: RunConfig, reporter: EventReporter, control: TrainerControl) -> tuple[ImageSet, Task]:
    """The run's validation images and task. Raises BadInput if there are none."""
    found = reader_registry.open_dataset(config, reporter, control)
    if found.val is None:
        raise BadInput("the run has no validation images; name a folder of images: --images DIR")
    return found.val, found.task


def images_at(
    path: Path, config: RunConfig, classes: tuple[str, ...], reporter: EventReporter
) -> tuple[ImageSet, Task, bool]:
    """The images at `path`, the task, and whether they have labels (folders with the names of the classes, or shards).

    Reports images that do not fit the run's value range. Raises BadInput if there are no images, and for tasks whose
    samples are not single images.
    """
    task = _task(config, classes)
    sharded = _shards_at(path, config, classes, reporter)
    images, labelled = found_at(path, classes) if sharded is None else (sharded, True)
    chosen, warnings = value_range_scan.range_for(config, path)
    for text in warnings:
        reporter.notice("warning", text)
    decoding = Decoding(chosen, interpolation=normalization.interpolation_of(config.data))
    images = dataclasses.replace(images, decoding=decoding)
    return images, task, labelled


def _shards_at(path: Path, config: RunConfig, classes: tuple[str, ...], reporter: EventReporter) -> ImageSet | None:
    """The images of a shard, or of a folder that has shards and no images; None for anything else. Raises BadInput."""
    data, dataset, home, pattern = config.data, "", path, "."
    if path.is_dir():
        if next(files_in(path), None) is None:
            dataset = split_index.layout_in(str(path)) or shard_patterns.layout_at_top(path)
    elif path.is_file():
        dataset, home, pattern = shard_patterns.layout_by_name(path.name), path.parent, glob.escape(path.name)
    if not dataset:
        return None
    keys = (data.image_key, data.label_key) if data.dataset == dataset else (AUTO, AUTO)
    described = msgspec.structs.replace(data, dataset=dataset, data_dir=str(home), image_key=keys[0], label_key=keys[1])
    split = shard_split.open_split(described, pattern, setting="--images", classes=classes)
    if not split.images.label_names and not split.images.schema_classes and not classes[0].isdigit():
        reporter.notice(
            "warning",
            f"--images: its labels are numbers without names; they are taken as those of the run's classes (0 is "
            f"{plain(classes[0], 60)}): if they number other names, the accuracy is wrong",
        )
    return shards.image_set_of(split)


def _task(config: RunConfig, classes: tuple[str, ...]) -> Task:
    dataset = config.data.dataset
    if dataset in _CLASSES:
        return Classification(len(classes))
    if dataset in _HEADS:
        return HeadPose(np.zeros((1, 3), np.float32))
    raise BadInput(
        f"--images: samples of dataset={dataset} are not single images; without --images the run's own are used"
    )


Name = Callable[[int], str]


def namer(images: ImageSet) -> Name:
    """Name of a sample: the path of its (first) image, or its number in a custom data set."""
    if images.user_dataset is not None:
        return str
    return lambda sample: images.name(sample * images.group)
