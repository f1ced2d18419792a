"""What SIGINT, SIGTERM and SIGUSR1 mean to a command that watches a run as lines.

Only Ctrl-C (SIGINT) detaches a command from the run that it started. A batch system sends SIGTERM or SIGUSR1, some
send them twice: each time they mean a stop after a checkpoint, and the command waits for it. With Slurm's
proctrack/cgroup the run would be killed as soon as the command has left.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching.launch import NotLiveError
from gputrain.engine.processes.scheduler_signals import PREEMPTING, STOPPING
from gputrain.tui.commands.output import print_error
from gputrain.tui.state.command_sender import sender

if TYPE_CHECKING:
    from gputrain.tui.state.event_source import RunSource

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
        self._stopping = False
        self.detached = False
        """The command should leave; the run continues."""

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._record) for number in STOPPING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def release(self) -> None:
        """Restore the default handlers, for a screen, and act on what was recorded as they would."""
        self._before = {}
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in PREEMPTING:
            signal.signal(number, signal.SIG_DFL)
        while self._signals:
            os.kill(os.getpid(), self._signals.popleft())

    def _record(self, number: int, _frame: object) -> None:
        self._signals.append(number)
        if number == signal.SIGINT and self._signals.count(number) > 1:
            # The command has not reacted to the first one: the next one ends it.
            signal.signal(number, signal.SIG_DFL)

    def obey(self, attachment: RunSource) -> None:
        """Act on the signals since the last call: request a stop, or set `detached`."""
        while self._signals:
            number = self._signals.popleft()
            if not self._owner or (self._stopping and number == signal.SIGINT):
                self.detached = True
            elif not self._stopping or self._script:
                self._stop(number)
        if self._pending and not self.detached:
            self._send(attachment)

    def _stop(self, number: int) -> None:
        self._stopping = True
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

    def _send(self, attachment: RunSource) -> None:
        # A supervisor that is still starting, or that is ending, cannot be reached: try again with the next events.
        with contextlib.suppress(NotLiveError):
            while self._pending:
                attachment.send(self._pending[0])
                self._pending.popleft()
