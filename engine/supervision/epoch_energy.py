"""Adds the energy of each epoch to its event. Pure."""

from __future__ import annotations

import msgspec

from gputrain.engine.events import EpochEnded, HardwareSample
from gputrain.engine.monitor.energy import NO_ENERGY, EnergyMeter


class EpochEnergy:
    """Sums the energy between the ends of two epochs, validation included."""

    def __init__(self) -> None:
        self._meter = EnergyMeter()
        self._used = NO_ENERGY

    def take(self, sample: HardwareSample) -> None:
        """A new sample of the machine."""
        self._used = self._used.plus(self._meter.used(sample, sample.interval))

    def ended(self, event: EpochEnded) -> EpochEnded:
        """`event` with the energy since the one before."""
        used, self._used = self._used, NO_ENERGY
        return msgspec.structs.replace(event, gpu_joules=used.gpus, cpu_joules=used.cpu)
