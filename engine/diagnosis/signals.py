"""Signals of a run: what the newest window of its events says, in means and shares. Pure; time is the events'."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from gputrain.engine.events import (
    AnyEvent,
    GpuSample,
    HardwareSample,
    LoaderStats,
    ModelReady,
    Phase,
    PhaseChanged,
    RunStarted,
    Steps,
)

WINDOW_SECONDS = 12.0
WARM_UP_SECONDS, WARM_UP_STEPS = 5.0, 10
"""Until both have passed, the queue that was filled before the first step flatters every figure."""
_LEAST_SECONDS = 4.0
"""Time spent on steps below which a window says nothing."""


class Signals(Struct, frozen=True, kw_only=True):
    """One window. Shares are 0…1 of the time spent on steps; None is what nobody could measure."""

    wait: float
    """Share in which the loop waited for a batch."""
    first_wait: float = 0.0
    """The part of `wait` that was for the first batch of an epoch."""
    compute: float
    copy: float | None = None
    """Host-to-device copies; they may run beside the computing."""
    other: float = 0.0
    epoch: int = 0
    settings: Mapping[str, Any] = {}
    on_gpu: bool = False
    workers: int = 0
    busy: float | None = None
    """Share of the workers' time spent on samples; so the next three, of their working time."""
    run_delay: float | None = None
    read_share: float | None = None
    from_disk: float | None = None
    """Share of the bytes read that came from a disk and not from the page cache."""
    usable_cores: float | None = None
    cpu: float | None = None
    """Percent of the usable cores."""
    foreign_cpu: float | None = None
    """Cores that others used."""
    throttled: float | None = None
    psi_io: float | None = None
    ram_used: float | None = None
    """Share of the memory that the run may use."""
    ram_total: int | None = None
    run_memory: int | None = None
    """Bytes of the run's processes."""
    utilization: float | None = None
    """Percent of the run's GPU; None for a MIG instance and on the CPU."""
    vram: float | None = None
    """Share of the GPU's memory at the peak."""

    @property
    def idle_cores(self) -> float | None:
        """Usable cores that nobody kept busy."""
        if self.cpu is None or self.usable_cores is None:
            return None
        return max(0.0, self.usable_cores * (1 - self.cpu / 100))

    def setting(self, name: str, default: Any) -> Any:
        """The run's setting, `default` where the record lacks it."""
        return self.settings.get(name, default)


class Window:
    """Keeps the newest events of training and makes signals of them."""

    def __init__(self) -> None:
        self._settings: dict[str, Any] = {}
        self._usable_cores: float | None = None
        self._device = ""
        self._training = False
        self._began: float | None = None
        self._warm_steps = 0
        self._now = 0.0
        self._steps: deque[Steps] = deque()
        self._loader: deque[LoaderStats] = deque()
        self._hardware: deque[HardwareSample] = deque()

    def feed(self, event: AnyEvent) -> None:
        """Learn from one event; those outside training change no signal."""
        self._now = max(self._now, event.mono)
        match event:
            case RunStarted():
                self._settings, self._usable_cores = event.settings, event.usable_cores or None
            case ModelReady():
                self._device = event.device
            case PhaseChanged():
                self._training = event.phase is Phase.TRAINING
                if self._training and self._began is None:
                    self._began = event.mono
            case Steps() if self._training:
                self._take_steps(event)
            case LoaderStats() if self._training and self.warm:
                self._loader.append(event)
            case HardwareSample() if self._training and self.warm:
                self._hardware.append(event)
        self._forget()

    @property
    def warm(self) -> bool:
        """Whether the start of the training has passed."""
        return (
            self._began is not None and self._now - self._began >= WARM_UP_SECONDS and self._warm_steps >= WARM_UP_STEPS
        )

    def signals(self) -> Signals | None:
        """The signals now; None outside training, and while there is too little to judge by."""
        seconds = sum(one.window_seconds for one in self._steps)
        if not self._training or seconds < _LEAST_SECONDS:
            return None
        newest = self._steps[-1]
        copies = [one.copy for one in self._steps if one.copy is not None]
        signals = Signals(
            wait=sum(one.data_wait for one in self._steps) / seconds,
            first_wait=sum(one.first_batch_wait for one in self._steps) / seconds,
            compute=sum(one.compute for one in self._steps) / seconds,
            copy=sum(copies) / seconds if copies else None,
            other=sum(one.other for one in self._steps) / seconds,
            epoch=newest.epoch,
            settings=self._settings,
            on_gpu=self._device.startswith("cuda"),
            workers=self._settings.get("num_workers", 0),
            usable_cores=self._usable_cores,
        )
        peaks = [one.vram_peak for one in self._steps if one.vram_peak is not None]
        return msgspec.structs.replace(
            signals, **self._of_loader(), **self._of_host(), **self._of_gpu(max(peaks, default=None))
        )

    def _take_steps(self, event: Steps) -> None:
        if self.warm:
            self._steps.append(event)
        else:
            self._warm_steps += event.window_steps

    def _forget(self) -> None:
        oldest = self._now - WINDOW_SECONDS
        kept: deque[Any]
        for kept in (self._steps, self._loader, self._hardware):
            while kept and kept[0].mono <= oldest:
                kept.popleft()

    def _of_loader(self) -> dict[str, Any]:
        if not self._loader:
            return {}
        worked = [(one, (one.busy if one.busy is not None else 1.0) * one.seconds) for one in self._loader]
        read = sum(one.bytes_read for one in self._loader if one.bytes_read is not None)
        disk = [one.disk_bytes for one in self._loader if one.disk_bytes is not None]
        return {
            "workers": self._loader[-1].workers,
            "busy": _mean((one.busy, one.seconds) for one in self._loader),
            "run_delay": _mean((one.run_delay, weight) for one, weight in worked),
            "read_share": _mean((one.read_share, weight) for one, weight in worked),
            "from_disk": min(1.0, sum(disk) / read) if disk and read else None,
        }

    def _of_host(self) -> dict[str, Any]:
        if not self._hardware:
            return {}
        newest = self._hardware[-1]
        used = None
        if newest.ram_total and newest.ram_available is not None:
            used = 1 - newest.ram_available / newest.ram_total
        return {
            "usable_cores": newest.usable_cores or self._usable_cores,
            "cpu": self._host_mean("cpu_percent"),
            "foreign_cpu": self._host_mean("foreign_cpu"),
            "throttled": self._host_mean("throttled_share"),
            "psi_io": self._host_mean("psi_io"),
            "ram_used": used,
            "ram_total": newest.ram_total,
            "run_memory": newest.run_pss if newest.run_pss is not None else newest.run_rss,
        }

    def _host_mean(self, name: str) -> float | None:
        return _mean((getattr(one, name), one.interval) for one in self._hardware)

    def _of_gpu(self, peak: int | None) -> dict[str, Any]:
        found = [(gpu, one.interval) for one in self._hardware if (gpu := self._own_gpu(one)) is not None]
        if not found:
            return {}
        total = found[-1][0].memory_total
        return {
            "utilization": _mean((gpu.utilization, seconds) for gpu, seconds in found),
            "vram": peak / total if peak is not None and total else None,
        }

    def _own_gpu(self, sample: HardwareSample) -> GpuSample | None:
        """The GPU that the run's device names; CUDA counts only those that it shows."""
        number = self._device.partition(":")[2]
        if not self._device.startswith("cuda"):
            return None
        wanted = int(number) if number.isdigit() else 0
        return next((gpu for gpu in sample.gpus if gpu.cuda_index == wanted and not gpu.error), None)


def _mean(values: Iterable[tuple[float | None, float]]) -> float | None:
    """Mean of values with their weights, of those that were measured; None without any."""
    known = [(value, weight) for value, weight in values if value is not None and weight > 0]
    if not known:
        return None
    return math.fsum(value * weight for value, weight in known) / math.fsum(weight for _, weight in known)
