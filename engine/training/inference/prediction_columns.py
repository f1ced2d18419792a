"""Predictions as rows of a CSV file: class and probability, head pose angles, or the raw outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch

from gputrain.engine.jobs.prediction_csv import CLASS_COLUMNS, PredictionFile, class_cells
from gputrain.engine.training.inference.input_images import Name
from gputrain.engine.training.tasks.classification import Classification
from gputrain.engine.training.tasks.head_pose import ANGLES, HeadPose
from gputrain.engine.training.tasks.task import Task

_FLUSH_SAMPLES = 4096
"""Samples whose results are collected on the device before they are fetched."""


class OutputReading(Protocol):
    """Meaning of a network's outputs."""

    columns: tuple[str, ...]

    def values(self, outputs: torch.Tensor) -> torch.Tensor:
        """(N, len(columns)) float64 of (N, outputs) float32, on their device."""
        ...

    def cells(self, row: Sequence[float]) -> list[str]:
        """The columns of one sample, as text."""
        ...


class _Classes:
    columns: tuple[str, ...] = CLASS_COLUMNS

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes

    def values(self, outputs: torch.Tensor) -> torch.Tensor:
        best = outputs.double().softmax(1).max(1)
        return torch.stack((best.indices.double(), best.values), 1)

    def cells(self, row: Sequence[float]) -> list[str]:
        return class_cells(self._classes[int(row[0])], row[1])


class _Numbers:
    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns

    def values(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.double().reshape(len(outputs), -1)

    def cells(self, row: Sequence[float]) -> list[str]:
        return [f"{value:.6g}" for value in row]


def output_reading(task: Task, classes: Sequence[str]) -> OutputReading:
    """Meaning of a task's outputs. Classes without a name are numbered."""
    if isinstance(task, Classification):
        return _Classes([*classes, *map(str, range(len(classes), task.outputs))])
    if isinstance(task, HeadPose):
        return _Numbers(ANGLES)
    return _Numbers(tuple(f"output_{number}" for number in range(task.outputs)))


class Predictions:
    """The CSV file, which gets its name when it is complete, and the number of predictions of each class."""

    def __init__(self, path: Path | None, reading: OutputReading, name: Name) -> None:
        """`path` None: count only. Raises BadInput if the file can't be written."""
        self.counts: dict[int, int] = {}
        self._reading, self._name = reading, name
        self._file = PredictionFile(path, reading.columns)
        self._waiting: list[tuple[list[int], torch.Tensor]] = []
        self._held = 0

    def add(self, samples: list[int], outputs: torch.Tensor) -> None:
        """Add the outputs (N, …) of `samples`. Waits for the device only every few thousand samples."""
        self._waiting.append((samples, self._reading.values(outputs)))
        self._held += len(samples)
        if self._held >= _FLUSH_SAMPLES:
            self._flush()

    def finish(self) -> None:
        """Write the rest and rename the file. Raises BadInput if it can't be written."""
        self._flush()
        self._file.finish()

    def discard(self) -> None:
        """Delete an unfinished file."""
        self._file.discard()

    def _flush(self) -> None:
        for samples, values in self._waiting:
            for sample, row in zip(samples, values.tolist(), strict=True):
                if isinstance(self._reading, _Classes):
                    self.counts[int(row[0])] = self.counts.get(int(row[0]), 0) + 1
                self._file.add(self._name(sample), self._reading.cells(row))
        self._waiting.clear()
        self._held = 0
