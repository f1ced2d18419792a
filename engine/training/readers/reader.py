"""The contract of a reader of a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.training.tasks.task import Task


@dataclass(frozen=True, slots=True)
class OpenedDataset:
    """Training and validation images of one data set, and what is learned from them."""

    train: ImageSet
    val: ImageSet | None
    task: Task
    notes: tuple[str, ...] = ()
    """What a person should know of what was found, a sentence each."""


OnFound = Callable[[int], None]
"""Called now and then with the number of images found so far; may raise StopRequested."""

Reader = Callable[[RunConfig, OnFound], OpenedDataset]
"""Finds the data set in ``data_dir``. Raises BadInput that names the folder or file, and the remedy."""
