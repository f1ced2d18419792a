"""Samples of the machines of a run that have no supervisor of their own."""

from __future__ import annotations

from gputrain.engine.events.envelope import Event
from gputrain.engine.events.hardware import GpuSample, ProcessSample


class NodeSample(Event, frozen=True, tag="node"):
    """A short sample of another machine of the run; those of the record's own machine are `HardwareSample`."""

    host: str
    """Its name, as in `RankSteps`."""
    cpu_percent: float | None = None
    """Utilization of all its usable cores together, 0…100."""
    usable_cores: float = 0.0
    """As in `HardwareSample`; likewise `foreign_cpu`, `other_processes` and `gpus`."""
    foreign_cpu: float | None = None
    """Cores used by all other processes."""
    other_processes: tuple[ProcessSample, ...] = ()
    """The other processes that use most CPU."""
    gpus: tuple[GpuSample, ...] = ()
    """One sample per GPU."""
    ram_total: int | None = None
    """Bytes; likewise `ram_available`."""
    ram_available: int | None = None
    """As in `HardwareSample`."""
    disk_read: float | None = None
    """Bytes per second of all its disks; likewise `disk_write`."""
    disk_write: float | None = None
    """Bytes per second."""
    disk_busy: float | None = None
    """Share of the time in which the disk of the data had requests, 0…1."""
    net_rx: float | None = None
    """Bytes received per second over the interfaces that lead out of it; likewise `net_tx`."""
    net_tx: float | None = None
    """Bytes sent per second."""
