"""Events of a trace: some steps of the running training, recorded by torch's profiler on request."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from gputrain.engine.events.envelope import Event


class OperatorTime(Struct, frozen=True, omit_defaults=True):
    """The time of one operator in a trace."""

    name: str
    """Its name, ``aten::convolution_backward``; of a kernel that no operator launched, the kernel's."""
    calls: int
    """Number of calls."""
    seconds: float
    """Time in it and in no operator that it called: of its kernels and copies on a GPU, else of the host."""
    share: float
    """Share of the time of all operators, 0…1."""


class SyncPoint(Struct, frozen=True, omit_defaults=True):
    """A line of Python that makes the host wait for the device."""

    line: str
    """``file:line``; empty where the trace has no Python stack."""
    call: str
    """What waits there: ``.item()``, ``.cpu()`` …"""
    count: int
    """How often."""
    seconds: float = 0.0
    """Time in which the host waited there."""
    idle: float = 0.0
    """Time in which the GPU was idle after that wait, until the host had launched work again; 0 on a CPU."""


class TraceSummary(Struct, frozen=True, omit_defaults=True):
    """What a trace shows. `kernels`, `copies`, `data` and `gaps` are shares of its time and sum to 1."""

    steps: int
    """Recorded steps."""
    seconds: float
    """Time that they took, with the cost of recording."""
    on_gpu: bool
    """Kernels ran on a GPU."""
    operators: tuple[OperatorTime, ...] = ()
    """The ten that took most time, the most expensive first."""
    kernels: float = 0.0
    """Share of the time in which a kernel ran; on a CPU an operator other than a copy."""
    copies: float = 0.0
    """Share in which a copy ran and no kernel did."""
    data: float = 0.0
    """Share in which the loop waited for data and the device was idle."""
    gaps: float = 0.0
    """The rest: the device was idle, although a batch was there."""
    copies_total: float = 0.0
    """Share of the copies, whether a kernel ran beside them or not."""
    gaps_sync: float = 0.0
    """The part of `gaps` that follows a synchronisation."""
    gaps_host: float = 0.0
    """The part of `gaps` in which the host had not launched the next kernel yet, without having waited."""
    launches: int = 0
    """Number of kernels; on a CPU of operators that call no other one."""
    mean_kernel: float | None = None
    """Mean time of one of them in seconds; None without any."""
    sync_points: tuple[SyncPoint, ...] = ()
    """The ten that cost most."""


class Traced(Event, frozen=True, tag="trace"):
    """How far the request for a trace is, and at its end what the trace shows."""

    request: str
    """`id` of the command."""
    verdict: Literal["recording", "waiting", "written", "done", "failed", "refused"]
    """`recording` once the first step is recorded, `waiting` while no step ends, then the result."""
    steps: int = 0
    """Steps that were recorded."""
    text: str = ""
    """Why it waits, failed, was refused, or has fewer steps than wanted."""
    file: str = ""
    """The Chrome trace, compressed by gzip."""
    size: int = 0
    """Bytes of that file."""
    summary: TraceSummary | None = None
    """What it shows; None before the verdict ``done``."""
