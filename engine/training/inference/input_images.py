"""Images that a trained network is to be tried on: those of its run, or any folder or file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.datasets.image_set import ImageSet, found_at
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.training.readers import open_dataset
from gputrain.engine.training.tasks.classification import Classification
from gputrain.engine.training.tasks.head_pose import HeadPose
from gputrain.engine.training.tasks.task import Task

_CLASSES = ("demo", "imagefolder", "cifar10")
_HEADS = ("300wlp", "biwi")


def validation_images(config: RunConfig, reporter: EventReporter, control: TrainerControl) -> tuple[ImageSet, Task]:
    """The run's validation images and task. Raises BadInput where it has none."""
    found = open_dataset.open_dataset(config, reporter, control)
    if found.val is None:
        raise BadInput("the run has no validation images; name a folder of images: --images DIR")
    return found.val, found.task


def images_at(path: Path, config: RunConfig, classes: tuple[str, ...]) -> tuple[ImageSet, Task, bool]:
    """The images in a folder, or one, the task, and whether they have labels: their folders are the run's classes.

    Raises BadInput where there are no images, and for tasks whose samples are more than a picture.
    """
    task = _task(config, classes)
    images, labelled = found_at(path, classes)
    return images, task, labelled


def _task(config: RunConfig, classes: tuple[str, ...]) -> Task:
    dataset = config.data.dataset
    if dataset in _CLASSES:
        return Classification(len(classes))
    if dataset in _HEADS:
        return HeadPose(np.zeros((1, 3), np.float32))
    raise BadInput(f"--images: samples of dataset={dataset} are more than pictures; leave it out for those of the run")


Name = Callable[[int], str]


def namer(images: ImageSet) -> Name:
    """What a sample is called: the path of its (first) image, or its number in a data set of one's own."""
    if images.user_dataset is not None:
        return str
    return lambda sample: images.name(sample * images.group)
