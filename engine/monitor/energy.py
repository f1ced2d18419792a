"""Energy between samples of the machine: by the GPUs' counters, by power where they have none. Pure."""

from __future__ import annotations

from typing import NamedTuple

from gputrain.engine.events import GpuSample, HardwareSample


class Energy(NamedTuple):
    """Joules; None: not measured."""

    gpus: float | None
    cpu: float | None
    """Of all CPU packages."""

    @property
    def total(self) -> float | None:
        """Both, as far as they were measured."""
        known = [value for value in self if value is not None]
        return sum(known) if known else None

    def plus(self, other: Energy) -> Energy:
        """The sum."""
        return Energy(*(b if a is None else a if b is None else a + b for a, b in zip(self, other, strict=True)))


NO_ENERGY = Energy(None, None)


class EnergyMeter:
    """Takes the samples of a run in order."""

    def __init__(self) -> None:
        self._counters: dict[str, float] = {}

    def restart(self) -> None:
        """The run was resumed: what the GPUs used meanwhile is not its own."""
        self._counters.clear()

    def used(self, sample: HardwareSample, seconds: float) -> Energy:
        """The energy since the previous sample, `seconds` ago."""
        known = [joules for gpu in sample.gpus if (joules := self._of_gpu(gpu, seconds)) is not None]
        cpu = sample.cpu_power * seconds if sample.cpu_power is not None else None
        return Energy(sum(known) if known else None, cpu)

    def _of_gpu(self, gpu: GpuSample, seconds: float) -> float | None:
        key = gpu.uuid or str(gpu.index)
        before = self._counters.pop(key, None)
        if gpu.energy is not None:
            self._counters[key] = gpu.energy
            # A counter that fell: the driver was loaded again.
            if before is not None and gpu.energy >= before:
                return gpu.energy - before
        return gpu.power * seconds if gpu.power is not None else None
