"""Requests to a running trainer: commands from the supervisor, signals, and the loss of the supervisor."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Literal

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import Outcome, Phase, RunEnded
from gputrain.engine.events.commands import (
    CheckpointCommand,
    PauseCommand,
    ProfileCommand,
    ResumeCommand,
    StopCommand,
    TuneCommand,
    decode_command,
)
from gputrain.engine.processes import scheduler_signals
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.scheduler_signals import PREEMPTING, STOPPING

if TYPE_CHECKING:
    from gputrain.engine.training.distributed.process_group import SingleProcess

_ORPHAN_CHECK_SECONDS = 1.0
_PAUSE_POLL_SECONDS = 0.2
How = Literal["", "checkpoint", "now"]
_HOW: tuple[How, ...] = ("", "checkpoint", "now")


class StopRequested(Exception):  # noqa: N818 - a request, not an error
    """Stop requested before the first step, when there is nothing to save."""


class TrainerControl:
    """The training loop calls `poll` between steps and reads the attributes."""

    def __init__(self, inbox: Connection, reporter: EventReporter) -> None:
        self._inbox = inbox
        self._reporter = reporter
        self._orphan_checked = 0.0
        self._signal: int | None = None
        self.stop: How = ""
        self.reason = ""
        """Why the run stops, in words."""
        self.preempted = False
        """A batch system requested the stop: the run should be resumed."""
        self.checkpoint = False
        self.paused = False
        self.tune: TuneCommand | None = None
        """The newest request to change settings."""
        self.profile: ProfileCommand | None = None
        """A request for a trace of the next steps."""

    def install_signals(self) -> None:
        """The signals in `STOPPING` request a stop after a checkpoint; the handler only sets a flag."""
        for number in STOPPING:
            signal.signal(number, self._on_signal)
        scheduler_signals.received()

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signal = number

    def poll(self) -> None:
        """Read signals and commands that have arrived, and check once a second that the supervisor runs."""
        if self._signal is not None:
            self.preempted |= self._signal in PREEMPTING
            self._ask_stop("checkpoint", f"stopped by {signal.Signals(self._signal).name}")
        try:
            while self._inbox.poll():
                self._take(self._inbox.recv_bytes())
        except (EOFError, OSError):
            self._ask_stop("checkpoint", "stopped: the supervisor has ended")
        now = time.monotonic()
        if now - self._orphan_checked > _ORPHAN_CHECK_SECONDS:
            self._orphan_checked = now
            if not self._reporter.supervised:
                self._ask_stop("checkpoint", "stopped: the supervisor has ended")

    def _take(self, raw: bytes) -> None:
        match decode_command(raw):
            case StopCommand(preempt=True, sender=sender):
                self.preempted = True
                self._ask_stop("checkpoint", f"stopped by {plain(sender, 120)}, after a checkpoint")
            case StopCommand(checkpoint=True):
                self._ask_stop("checkpoint", "stopped on request, after a checkpoint")
            case StopCommand():
                self._ask_stop("now", "stopped on request, at once")
            case CheckpointCommand():
                self.checkpoint = True
            case PauseCommand():
                self.paused = True
            case ResumeCommand():
                self.paused = False
            case TuneCommand() as request:
                self.tune = request
            case ProfileCommand() as request:
                self.profile = request

    def _ask_stop(self, how: How, reason: str) -> None:
        if self.stop != "now":
            self.stop = how
            self.reason = self.reason or reason

    def all_reduce_requests(self, ranks: SingleProcess, *more: int) -> list[int]:
        """Combine the requests of all ranks, so that each rank has the requests of every other one.

        `poll` finds the requests to this rank only. Returns the maximum over the ranks of each number in `more`.
        """
        local = (_HOW.index(self.stop), self.preempted, self.checkpoint, self.paused, *more)
        stop, preempted, checkpoint, paused, *maxima = ranks.all_reduce_max([int(value) for value in local])
        if stop > _HOW.index(self.stop):
            self._ask_stop(_HOW[stop], "stopped, as another rank was")
        self.preempted, self.checkpoint, self.paused = bool(preempted), bool(checkpoint), bool(paused)
        return maxima

    def ended(self, step: int) -> RunEnded:
        """The `RunEnded` of a run that stops on request."""
        return RunEnded(outcome=Outcome.STOPPED, reason=self.reason, step=step, preempted=self.preempted)

    def raise_if_stopped(self) -> None:
        """For phases before the first step. Raises StopRequested."""
        self.poll()
        if self.stop:
            raise StopRequested(self.reason)

    def wait_while_paused(self, phase: Callable[[Phase], None], then: Phase) -> None:
        """Wait while the run is paused and not stopped; then begin the phase `then`."""
        if not self.paused or self.stop:
            return
        phase(Phase.PAUSED)
        while self._still_paused():
            self._inbox.poll(_PAUSE_POLL_SECONDS)
        phase(then)

    def _still_paused(self) -> bool:
        self.poll()
        return self.paused and not self.stop
