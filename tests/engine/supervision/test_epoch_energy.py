"""Energy of epochs."""

from __future__ import annotations

import pytest

from gputrain.engine.events import EpochEnded, GpuSample, HardwareSample
from gputrain.engine.supervision.epoch_energy import EpochEnergy


def test_each_epoch_has_the_energy_since_the_one_before() -> None:
    def sample(energy: float) -> HardwareSample:
        gpu = GpuSample(index=0, uuid="a", power=100.0, energy=energy)
        return HardwareSample(interval=2.0, cpu_power=30.0, gpus=(gpu,))

    ended = EpochEnded(epoch=0, step=1, train_loss=None, seconds=1.0, images_per_second=1.0)
    energy = EpochEnergy()
    assert energy.ended(ended) == ended
    for value in (5000.0, 5150.0):
        energy.take(sample(value))
    first = energy.ended(ended)
    assert [first.gpu_joules, first.cpu_joules] == pytest.approx([100 * 2 + 150, 120])
    energy.take(sample(5400.0))
    assert energy.ended(ended).gpu_joules == pytest.approx(250)
