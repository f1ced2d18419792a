"""Saving as the training loop sees it: once a position, and told to the person.

Neither a full disk nor a lack of memory is the end of a run; what else goes wrong is. Imports no torch.
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
from gputrain.engine.events import CheckpointSaved, Phase
from gputrain.engine.processes.event_reporter import EventReporter

Kind = Literal["last", "best", "requested", "final"]
_NICENESS = 5
"""Of the thread that writes: on a machine without a core to spare, the training comes first."""


class StateCopier(Protocol):
    """Copies a training state, so that training may go on while the copy is written."""

    def take(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A copy, whole once `wait` has returned. Raises RuntimeError or MemoryError where memory runs out."""
        ...

    def wait(self) -> None:
        """Return once the copy is whole. May be called on another thread."""
        ...


class CheckpointSaver:
    """Writes the checkpoints of a run, in the background where that is set. One is written at a time."""

    def __init__(
        self, checkpoints: CheckpointFiles | None, reporter: EventReporter, copier: StateCopier | None
    ) -> None:
        """Without `checkpoints` it only counts: another rank has the same state and writes it. Without a `copier` the
        training waits while checkpoints are written.
        """
        self._checkpoints = checkpoints
        self._reporter = reporter
        self._snapshot = copier
        self._writer: threading.Thread | None = None
        self._error: Exception | None = None
        self._saved: ResumePosition | None = None
        self.saved_step = 0
        """The step of the newest checkpoint, or try at one, of this run or of the one that it goes on from."""

    def go_on_from(self, step: int) -> None:
        """The run goes on from the checkpoint of `step`."""
        if self._checkpoints is not None:
            self._checkpoints.go_on_from(step)
        self.saved_step = step

    def save(self, kind: Kind, where: ResumePosition, state: Callable[[], dict[str, Any]]) -> None:
        """Write a checkpoint, unless this very position has one. A full disk or memory is told, and the run goes on.

        Returns once the state is copied; after a ``final`` one, and where it is not set otherwise, once it is on disk.
        """
        if self._checkpoints is None:
            self.saved_step = where.step
            return
        began = time.perf_counter()
        self._reporter.phase(Phase.SAVING)
        # The one before, if it is still under way: its memory is about to be used again.
        self.finish()
        if where == self._saved:
            return
        self.saved_step = where.step
        where = dataclasses.replace(where)
        copy = self._copy(state) if kind != "final" else None
        if copy is None:
            self._write(kind, where, state(), began, None)
            return
        held = time.perf_counter() - began
        arguments = (kind, where, copy, began, held)
        self._writer = threading.Thread(target=self._write_beside, args=arguments, name="checkpoint")
        self._writer.start()

    def _copy(self, state: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """What is written beside the training; None where it is to wait instead."""
        if self._snapshot is None:
            return None
        try:
            return self._snapshot.take(state())
        except (RuntimeError, MemoryError) as error:
            self._snapshot = None
            why = plain(str(error).partition("\n")[0], 200)
            text = f"no memory for a copy of the training state ({why})"
            self._reporter.notice("warning", f"{text}: the training waits while checkpoints are written")
            return None

    def finish(self) -> None:
        """Wait until the checkpoint that is under way is on disk. Raises what failed but for want of room."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write_beside(
        self, kind: Kind, where: ResumePosition, state: dict[str, Any], began: float, held: float
    ) -> None:
        try:
            self._write(kind, where, state, began, held)
        except Exception as error:  # noqa: BLE001 - raised again on the thread of the training
            self._error = error

    def _write(
        self, kind: Kind, where: ResumePosition, state: dict[str, Any], began: float, held: float | None
    ) -> None:
        """Write and tell. `held`: seconds that training stood still; None: on its own thread, for all of it."""
        assert self._checkpoints is not None
        try:
            if held is not None and self._snapshot is not None:
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
                self._snapshot.wait()
            entry = self._checkpoints.save(state, step=where.step, epoch=where.epoch, best=kind == "best")
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
                bytes=entry.bytes,
                seconds=seconds,
                held=seconds if held is None else held,
            )
        )
