"""What SIGINT, SIGTERM and SIGUSR1 mean to a command that watches a run as lines.

Only Ctrl-C (SIGINT) detaches a command from the run that it started. A batch system sends SIGTERM or SIGUSR1, some
send them twice, systemd sends SIGHUP after them: each time they mean a stop after a checkpoint, and the command waits
for it. With Slurm's proctrack/cgroup the run would be killed as soon as the command has left.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching.attachment import NotLiveError
from gputrain.engine.processes.scheduler_signals import PREEMPTING, STOPPING
from gputrain.tui.commands.command_messages import print_error
from gputrain.tui.state.command_sender import sender

if TYPE_CHECKING:
    from gputrain.tui.state.event_source import RunSource

_DELIVERY_SECONDS = 5.0
"""How long a command that leaves tries to deliver a stop that it has announced."""

_Handler = Callable[[int, FrameType | None], object] | int | None


class StopSignals:
    """A context in which the signals are recorded; `obey` acts on them.

    Handlers only record: a signal may arrive while a message is half sent or printed. Enter it before the run is
    started, so that no signal is lost.
    """

    def __init__(self, *, owner: bool, script: bool = False) -> None:
        """`owner`: this command started the run. Any signal ends a command that only watches.

        `script`: the run is a script of the user's own, which gets each signal itself.
        """
        self._owner, self._script = owner, script
        self._signals: deque[int] = deque()
        self._before: dict[int, _Handler] = {}
        self._pending: deque[StopCommand] = deque()
        self._stopped_by: int | None = None
        """The signal that requested the stop."""
        self.detached = False
        """The command should leave; the run continues."""

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._record) for number in STOPPING}
        if self._owner and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def take_waiting(self) -> tuple[int, ...]:
        """The recorded signals, for a screen that acts on them; they are no longer recorded here."""
        waiting = tuple(self._signals)
        self._signals.clear()
        return waiting

    def stops_run(self, number: int) -> bool:
        """Whether a signal that closed a screen stops the run."""
        return self._owner and number in PREEMPTING

    def add(self, number: int) -> None:
        """Record a signal that something else has received."""
        self._signals.append(number)

    def _record(self, number: int, _frame: object) -> None:
        self._signals.append(number)
        by_batch_system = self._stopped_by in PREEMPTING or any(one in PREEMPTING for one in self._signals)
        if number == signal.SIGINT and self._signals.count(number) > 1 and not by_batch_system:
            # The command has not reacted to the first one: the next one ends it.
            signal.signal(number, signal.SIG_DFL)

    def obey(self, attachment: RunSource) -> None:
        """Act on the signals since the last call: request a stop, or set `detached`."""
        # A batch system's signals first: what comes with them changes nothing.
        waiting = sorted(self._signals, key=lambda number: number not in PREEMPTING)
        self._signals.clear()
        for number in waiting:
            self._take(number)
        if self._pending:
            self._send(attachment, _DELIVERY_SECONDS if self.detached else 0.0)

    def _take(self, number: int) -> None:
        if self._stopped_by in PREEMPTING and number not in PREEMPTING and not self._script:
            # The command waits for the checkpoint that was requested.
            return
        if number == signal.SIGHUP:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not self._owner or (self._stopped_by is not None and number == signal.SIGINT):
            self.detached = True
        elif self._stopped_by is None or self._script:
            self._stop(number)

    def _stop(self, number: int) -> None:
        self._stopped_by = number
        hint = "; press Ctrl-C again to leave the run alone" if number == signal.SIGINT else ""
        name = signal.Signals(number).name
        print_error(
            f"{name} is passed on to the command{hint}" if self._script else f"stopping after a checkpoint{hint}"
        )
        self._pending.append(
            StopCommand(
                checkpoint=True,
                preempt=number in PREEMPTING,
                signal=number if self._script else 0,
                sender=f"{sender()} {name}",
            )
        )

    def _send(self, attachment: RunSource, seconds: float) -> None:
        # A supervisor that is still starting, or that is ending, cannot be reached: try again, or with the next events.
        deadline = time.monotonic() + seconds
        while self._pending:
            try:
                attachment.send(self._pending[0])
                self._pending.popleft()
            except NotLiveError:
                if time.monotonic() >= deadline:
                    return
                time.sleep(0.1)
