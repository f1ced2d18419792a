"""Saving as the training loop sees it: once a position, told to the person, and never the end of a run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from gputrain.engine.events import CheckpointSaved, Phase
from gputrain.engine.training.checkpoint import Checkpoints
from gputrain.engine.training.position import Position
from gputrain.engine.training.reporter import Reporter

Kind = Literal["last", "best", "requested", "final"]


class Saver:
    """Writes the checkpoints of a run."""

    def __init__(self, folder: Path, keep_last: int, reporter: Reporter) -> None:
        self._checkpoints = Checkpoints(folder, keep_last)
        self._reporter = reporter
        self._saved: Position | None = None
        self.saved_step = 0
        """The step of the newest checkpoint, of this run or of the one that it goes on from."""

    def go_on_from(self, step: int) -> None:
        """The run goes on from the checkpoint of `step`."""
        self._checkpoints.go_on_from(step)
        self.saved_step = step

    def save(self, kind: Kind, where: Position, state: Callable[[], dict[str, Any]]) -> None:
        """Write a checkpoint, unless this very position has one. A full disk is told, and the run goes on."""
        if where == self._saved:
            return
        self._reporter.phase(Phase.SAVING)
        began = time.perf_counter()
        try:
            entry = self._checkpoints.save(state(), step=where.step, epoch=where.epoch, best=kind == "best")
        except OSError as error:
            self._reporter.notice("error", f"no checkpoint at step {where.step}: {error.strerror or error}")
            return
        self._saved, self.saved_step = dataclasses.replace(where), where.step
        self._reporter.send(
            CheckpointSaved(
                kind=kind,
                file=entry.file,
                step=where.step,
                epoch=where.epoch,
                bytes=entry.bytes,
                seconds=time.perf_counter() - began,
            )
        )
