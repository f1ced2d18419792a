"""The interface of data set readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.training.tasks.task import Task


@dataclass(frozen=True, slots=True)
class OpenedDataset:
    """Training and validation images of a data set, and the task."""

    train: ImageSet
    val: ImageSet | None
    task: Task
    notes: tuple[str, ...] = ()
    """Notices for the user, a sentence each."""


OnFound = Callable[[int], None]
"""Called repeatedly with the number of images found so far; may raise StopRequested."""

Reader = Callable[[RunConfig, OnFound], OpenedDataset]
"""Opens the data set in ``data_dir``. Raises BadInput with the folder or file, and the remedy."""
