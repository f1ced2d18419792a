"""Event of a request for stacks: what every thread of a run's processes does."""

from __future__ import annotations

from msgspec import Struct

from gputrain.engine.events.envelope import Event


class ProcessAsked(Struct, frozen=True, omit_defaults=True):
    """A process that was asked for its stacks."""

    pid: int
    """Process id."""
    role: str
    """``trainer``, ``rank 2``, ``data worker`` …"""
    threads: int = 0
    """Number of its Python threads."""
    at: str = ""
    """Line of its main thread, ``file:line in function``: the innermost one of the user's code, else the innermost."""
    missing: str = ""
    """Why it gave no stacks; empty if it did."""


class SharedStack(Struct, frozen=True, omit_defaults=True):
    """One stack, and the threads that have it."""

    frames: tuple[str, ...]
    """``file:line in function``, the innermost first."""
    threads: tuple[str, ...]
    """Role, pid and thread: ``data worker 4711, main thread``; at most 32 of them."""
    count: int
    """Number of the threads."""


class StacksTaken(Event, frozen=True, tag="stacks"):
    """The stacks of all threads of the run's Python processes, as `StacksCommand` asked for them."""

    request: str
    """`id` of the command."""
    processes: tuple[ProcessAsked, ...] = ()
    """Those that were asked."""
    stacks: tuple[SharedStack, ...] = ()
    """The different stacks, those of most threads first."""
    line: str = ""
    """The line that the main threads of most processes are in; empty without any."""
    share: int = 0
    """Number of processes that are there."""
    left_out: int = 0
    """Number of different stacks that are not listed."""
    text: str = ""
    """Why there are no stacks at all; empty with some."""
