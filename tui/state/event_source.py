"""Interfaces of the sources from which screens read events."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from gputrain.engine.events import AnyEvent
from gputrain.engine.events.commands import AnyCommand


class RunName(Protocol):
    """Id and directory of a run."""

    @property
    def id(self) -> str:
        """The id of the run."""
        ...

    @property
    def directory(self) -> Path:
        """The run's directory."""
        ...


class EventSource(Protocol):
    """Events in order, of a run or of the sampler of this machine."""

    @property
    def abandoned(self) -> bool:
        """Whether the source ended without a last event: the supervisor or the watched process died."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the last event was read."""
        ...

    @property
    def caught_up(self) -> bool:
        """Whether everything recorded before the attach was read."""
        ...

    @property
    def sparse_until(self) -> int:
        """Sequence number up to which a long record was read only in part; 0 if it was read completely."""
        ...

    @property
    def trouble(self) -> str:
        """Why the source cannot deliver events for now (no connection); empty otherwise."""
        ...

    def read(self, timeout: float = 0.5, limit: int = 5000) -> list[AnyEvent]:
        """The next events in order; waits up to `timeout` seconds for the first. Raises OSError."""
        ...

    def close(self) -> None:
        """Stop reading; the run continues."""
        ...


class RunSource(EventSource, Protocol):
    """All events of one run. `gputrain.engine.launching.launch.attach` creates one."""

    @property
    def run(self) -> RunName:
        """The run that is read."""
        ...

    def send(self, command: AnyCommand) -> None:
        """Send a command to the run; another thread may read meanwhile. Raises OSError if the run is not live."""
        ...
