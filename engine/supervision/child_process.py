"""What the supervisor starts and watches: our own trainer, or a script of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import RunEnded
from gputrain.engine.events.commands import AnyCommand


class ChildProcess(Protocol):
    """One life of what trains."""

    @property
    def killed_on_request(self) -> bool:
        """A person asked to end it at once, and that ended it."""

    @property
    def pid(self) -> int | None:
        """Its process id."""

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""

    def watch(self, on_exit: Callable[[], None]) -> None:
        """Call `on_exit`, on a thread, once it has ended and its last event was handed out."""

    def drain(self) -> Iterator[bytes]:
        """Events that were not handed out before its end."""

    def send(self, command: AnyCommand) -> str:
        """Hand a command over; returns what became of it, for the record."""

    def kill(self) -> None:
        """End it at once."""


StartChild = Callable[[RunConfig, Callable[[bytes], None]], ChildProcess]
"""Starts it with the settings; it hands out each encoded event, on a thread. Raises OSError."""


class ExitReason(Protocol):
    """Makes the run's last event; see `exit_reasons.exit_reason`."""

    def __call__(
        self, reported: RunEnded | None, exit_code: int | None, *, stop_now: bool, oom_killed: bool, step: int
    ) -> RunEnded:
        """The last event."""
