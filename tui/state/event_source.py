"""Where a dashboard gets its events from."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from gputrain.engine.events import AnyEvent
from gputrain.engine.events.commands import AnyCommand


class RunName(Protocol):
    """Which run it is, and where it is kept."""

    @property
    def id(self) -> str:
        """The run's name."""
        ...

    @property
    def directory(self) -> Path:
        """The run's directory."""
        ...


class EventSource(Protocol):
    """Events in order: of a run, or of this machine's sampler alone."""

    @property
    def abandoned(self) -> bool:
        """What is read ended without a last event: nobody owns the run any more, the process is gone."""
        ...

    @property
    def ended(self) -> bool:
        """The last event was read."""
        ...

    @property
    def caught_up(self) -> bool:
        """All that had been recorded before was read."""
        ...

    @property
    def sparse_until(self) -> int:
        """Number of the event before which some are left out, the record being long; 0: none is."""
        ...

    @property
    def trouble(self) -> str:
        """Why nothing can come now, though more may come later; empty otherwise."""
        ...

    def read(self, timeout: float = 0.5, limit: int = 5000) -> list[AnyEvent]:
        """The next events in order; waits up to `timeout` seconds for the first. Raises OSError."""
        ...

    def close(self) -> None:
        """Read no more; a run goes on."""
        ...


class RunSource(EventSource, Protocol):
    """The events of one run, from the first on. `gputrain.engine.launching.launch.attach` makes the real one."""

    @property
    def run(self) -> RunName:
        """The run that is read."""
        ...

    def send(self, command: AnyCommand) -> None:
        """Hand a command to the run; may be called beside `read`. Raises OSError if nobody takes it."""
        ...
