"""Saves checkpoints for the training loop, in a background thread if wanted, and reports them.

A full disk or a lack of memory is logged and does not end the run; any other error does. Imports no torch.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from gputrain.engine.checkpointing.checkpoint_files import CheckpointFiles
from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import CheckpointSaved
from gputrain.engine.processes.event_reporter import EventReporter

Kind = Literal["last", "best", "requested", "final"]
_NICENESS = 5
"""Niceness of the writing thread: training goes first on a machine without a spare core."""


class StateCopier(Protocol):
    """Copies a training state, so that training continues while the copy is written."""

    def take(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A copy, complete when `wait` returns. Raises RuntimeError or MemoryError if memory runs out."""
        ...

    def wait(self) -> None:
        """Return when the copy is complete. May be called on another thread."""
        ...


class CheckpointSaver:
    """Writes the checkpoints of a run, one at a time."""

    def __init__(
        self, checkpoints: CheckpointFiles | None, reporter: EventReporter, copier: StateCopier | None
    ) -> None:
        """`checkpoints` None: another rank writes them, this one only counts. `copier` None: training waits while a
        checkpoint is written.
        """
        self._checkpoints = checkpoints
        self._reporter = reporter
        self._copier = copier
        self._writer: threading.Thread | None = None
        self._error: Exception | None = None
        self._saved: ResumePosition | None = None
        self.saved_step = 0
        """Step of the newest checkpoint (saved or failed) of this run or of the run it resumes."""

    def go_on_from(self, step: int) -> None:
        """The run resumes from the checkpoint of `step`."""
        if self._checkpoints is not None:
            self._checkpoints.go_on_from(step)
        self.saved_step = step

    def is_due(self, where: ResumePosition) -> bool:
        """Whether this position has no checkpoint yet; on the rank that writes."""
        return where != self._saved

    def save(self, kind: Kind, where: ResumePosition, state: Callable[[], dict[str, Any]], began: float) -> None:
        """Write a checkpoint unless this position has one. A full disk or a lack of memory is only logged.

        `state` gives its content; an OSError that it raises counts as one of writing. `began`: when the training began
        to wait, by the performance counter. Returns when the state is copied; for a ``final`` checkpoint, or without a
        copier, when it is on disk.
        """
        if self._checkpoints is None:
            self.saved_step = where.step
            return
        # Wait for the last checkpoint: its memory is reused.
        self.finish()
        if not self.is_due(where):
            return
        self.saved_step = where.step
        where = dataclasses.replace(where)
        copy = self._copy(state) if kind != "final" else None
        if copy is None:
            self._write(kind, where, state, began, None)
            return
        held = time.perf_counter() - began
        arguments = (kind, where, copy, began, held)
        self._writer = threading.Thread(target=self._write_in_background, args=arguments, name="checkpoint")
        self._writer.start()

    def _copy(self, state: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """A copy for the background thread; None: write at once, training waits."""
        if self._copier is None:
            return None
        try:
            return self._copier.take(state())
        except (RuntimeError, MemoryError) as error:
            self._copier = None
            why = plain(str(error).partition("\n")[0], 200)
            text = f"no memory for a copy of the training state ({why})"
            self._reporter.notice("warning", f"{text}: the training waits while checkpoints are written")
            return None

    def finish(self) -> None:
        """Wait until the running write is on disk. Raises its error unless it was a lack of disk space or memory."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write_in_background(
        self, kind: Kind, where: ResumePosition, state: dict[str, Any], began: float, held: float
    ) -> None:
        try:
            self._write(kind, where, lambda: state, began, held)
        except Exception as error:  # noqa: BLE001 - raised again on the thread of the training
            self._error = error

    def _write(
        self, kind: Kind, where: ResumePosition, state: Callable[[], dict[str, Any]], began: float, held: float | None
    ) -> None:
        """Write and report. `held`: seconds that training waited; None: it waits for the whole write."""
        assert self._checkpoints is not None
        try:
            if held is not None and self._copier is not None:
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
                self._copier.wait()
            entry = self._checkpoints.save(state(), step=where.step, epoch=where.epoch, best=kind == "best")
        except (OSError, MemoryError) as error:
            why = error.strerror if isinstance(error, OSError) else "out of memory"
            self._reporter.notice("error", f"no checkpoint at step {where.step}: {why or error}")
            return
        self._saved = where
        seconds = time.perf_counter() - began
        self._reporter.send(
            CheckpointSaved(
                kind=kind,
                file=entry.file,
                step=where.step,
                epoch=where.epoch,
                bytes=entry.all_bytes,
                seconds=seconds,
                held=seconds if held is None else held,
            )
        )
