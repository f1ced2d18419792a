"""The predicted speed on several GPUs and machines."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.estimates.scaling_forecast import (
    Devices,
    Images,
    ScaledSpeed,
    SingleSpeed,
    devices_of,
    scaled_speed,
    with_times,
)

RESNET50 = 25_557_032
ONE = SingleSpeed(low=270.0, high=330.0)


def speed(gpus: int, nodes: int = 1, at: Devices | None = None, one: SingleSpeed = ONE, **values: Any) -> ScaledSpeed:
    given = {"batch_size": 64, "num_workers": 8, **values}
    merged = {**settings.flatten(RunConfig()), **given}
    return scaled_speed(merged, RESNET50, one, at or place(**values), gpus, nodes)


def place(gpu: str | None = "NVIDIA A10G", cores: float = 64, **values: Any) -> Devices:
    merged = {"gpu_bandwidth": "auto", "network_bandwidth": "auto", **values}
    return devices_of(merged, gpu, cores, 1)


def test_one_gpu_is_as_fast_as_it_was() -> None:
    found = speed(1)
    assert (found.low, found.high) == pytest.approx((270.0, 330.0))
    assert (found.efficiency, found.exchange.seconds) == (1.0, 0.0)


def test_more_gpus_and_slower_links_scale_worse() -> None:
    fast, slow, machines = speed(8), speed(8, network_bandwidth="1GbE", gpu_bandwidth="1GB/s"), speed(1, 8)
    assert fast.efficiency > machines.efficiency > 0.5
    assert fast.efficiency > slow.efficiency
    assert slow.limiter == "exchange"
    assert speed(2).efficiency >= speed(8).efficiency


def test_the_link_between_machines_is_the_slowest() -> None:
    assert place().link(1).bytes_per_second == 20e9
    assert place().link(2).bytes_per_second == 1e9
    assert place(network_bandwidth="400GbE").link(2).bytes_per_second == 20e9
    assert place("NVIDIA A100-SXM4-80GB").link(1).bytes_per_second == 208e9


def test_bf16_and_accumulation_make_the_exchange_matter_less() -> None:
    plain = speed(1, 4, network_bandwidth="1GbE")
    half = speed(1, 4, network_bandwidth="1GbE", gradient_compression="bf16")
    rarer = speed(1, 4, network_bandwidth="1GbE", accumulation_steps=8)
    assert half.exchange.seconds == pytest.approx(plain.exchange.seconds / 2, rel=0.01)
    assert rarer.efficiency > half.efficiency > plain.efficiency
    assert speed(1, 4, sharding="zero1").exchange.exposed > speed(1, 4).exchange.exposed


def test_full_sharding_sends_half_as_much_again_over_the_whole_step() -> None:
    plain, full = speed(1, 4, network_bandwidth="25GbE"), speed(1, 4, network_bandwidth="25GbE", sharding="full")
    assert full.exchange.seconds == pytest.approx(1.5 * plain.exchange.seconds, rel=0.01)
    slow: dict[str, Any] = {"network_bandwidth": "1GbE", "sharding": "full"}
    assert speed(1, 4, **slow).efficiency < speed(1, 4, network_bandwidth="1GbE").efficiency


def test_workers_share_the_cores_of_a_machine() -> None:
    measured = SingleSpeed(low=280.0, high=320.0, step=300.0, supply=400.0)
    few = place(cores=16)
    assert speed(2, at=few, one=measured).limiter == "step"
    four = speed(4, at=few, one=measured)
    # 4 × 8 workers on 16 cores are as fast as 4 each: half of 400 for each GPU.
    assert four.limiter == "cores"
    assert four.efficiency == pytest.approx(200 / 300)
    assert speed(1, 4, at=few, one=measured).limiter != "cores"


def test_ranks_on_a_cpu_gain_nothing() -> None:
    found = speed(2, at=place(None, cores=2))
    assert found.limiter == "cores"
    assert found.high < 330.0
    assert found.exchange.overlap == 0.0


def test_times_and_costs() -> None:
    found = with_times(replace(speed(1), gpus=2, low=100.0, high=200.0), Images(1000, 10_000), "seen", 3.6, 1)
    assert found.eta is not None
    assert (found.eta.epoch_low, found.eta.epoch_high) == (5.0, 10.0)
    assert found.cost == pytest.approx((2 * 3.6 * 50 / 3600, 2 * 3.6 * 100 / 3600))
    on_eight = with_times(replace(speed(1), gpus=2, low=100.0, high=200.0), Images(1000, 10_000), "seen", 3.6, 8)
    assert on_eight.cost == pytest.approx((3.6 * 50 / 3600, 3.6 * 100 / 3600))
    assert with_times(speed(1), None, "", 1.0, 1).eta is None
