"""Forecast of a run's speed on several GPUs and machines, from the speed of one GPU. Pure.

The step of one GPU gets longer by the part of the gradient all-reduce that the backward pass does not hide
(`all_reduce`). Each machine's data workers share its cores. Rates are images per second, times seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gputrain.engine.common.units import MIB
from gputrain.engine.configuration.sections import link_bandwidth
from gputrain.engine.configuration.sections.link_bandwidth import Bandwidth
from gputrain.engine.estimates import all_reduce
from gputrain.engine.estimates.all_reduce import Exchange, Link
from gputrain.engine.estimates.host_memory import images_per_sample
from gputrain.engine.estimates.updates_per_epoch import SHAPES, Eta


class SingleSpeed(Struct, frozen=True):
    """The speed of one GPU (or of one process on the CPU)."""

    low: float
    high: float
    step: float | None = None
    """Rate of the training step alone; None: not measured, the step is taken as the whole."""
    supply: float | None = None
    """Rate of one GPU's data workers; None: not measured, they are taken to keep up."""


class Devices(Struct, frozen=True):
    """Where a run trains, and over which links."""

    on_gpu: bool
    within: Bandwidth
    """Between the GPUs of a machine."""
    between: Bandwidth
    """Between machines."""
    cores: float
    """Usable cores of each machine."""
    machine_gpus: int = 1
    """GPUs of the machine that `cost_per_hour` is the price of."""

    def link(self, nodes: int) -> Link:
        """The slowest link of a ring through `nodes` machines."""
        if nodes == 1:
            return Link(self.within.bytes_per_second, all_reduce.MACHINE_LATENCY)
        slowest = min(self.within.bytes_per_second, self.between.bytes_per_second)
        return Link(slowest, all_reduce.NETWORK_LATENCY)


class Images(Struct, frozen=True):
    """What is trained on: seconds are images over the rate."""

    epoch: float
    """Images of an epoch."""
    total: float
    """Images of the run."""


class ScaledSpeed(Struct, frozen=True):
    """The forecast for `gpus` GPUs on each of `nodes` machines."""

    gpus: int
    nodes: int
    low: float
    """Images per second of all together, at least."""
    high: float
    efficiency: float
    """Rate over that of as many single GPUs, 0…1."""
    exchange: Exchange
    """The all-reduce of one update; 0 seconds for a single GPU."""
    limiter: str
    """What limits the rate: ``step``, ``exchange``, ``workers`` or ``cores``."""
    eta: Eta | None = None
    cost: tuple[float, float] | None = None
    """Of the whole run, least and most, in the currency of `cost_per_hour`."""

    @property
    def ranks(self) -> int:
        """GPUs of all machines."""
        return self.gpus * self.nodes


def devices_of(values: Mapping[str, Any], gpu: str | None, cores: float, machine_gpus: int) -> Devices:
    """`gpu`: name of the GPU; None trains on the CPU."""
    within = link_bandwidth.of_gpu(gpu) if gpu is not None else "loopback"
    return Devices(
        on_gpu=gpu is not None,
        within=link_bandwidth.parse(values["gpu_bandwidth"], within),
        between=link_bandwidth.parse(values["network_bandwidth"], "10GbE"),
        cores=cores,
        machine_gpus=max(1, machine_gpus),
    )


def gradient_exchange(
    values: Mapping[str, Any], parameters: int, at: Devices, step_seconds: float, gpus: int, nodes: int
) -> Exchange:
    """The all-reduce of one update whose last batch takes `step_seconds` on each GPU."""
    ranks, link = gpus * nodes, at.link(nodes)
    # On the CPU the exchange takes the cores that the backward pass needs.
    backward = step_seconds * all_reduce.BACKWARD_SHARE if at.on_gpu else 0.0
    sizes = all_reduce.buckets(parameters * 4, values["bucket_mib"] * MIB)
    sent = 0.5 if values["gradient_compression"] == "bf16" else 1.0
    if values["sharding"] == "full" and ranks > 1:
        # Two all-gathers and a reduce-scatter: 1.5 times the bytes (Rajbhandari et al. 2020, "ZeRO", stage 3), which
        # overlap with both passes.
        sent, backward = 1.5 * sent, step_seconds if at.on_gpu else 0.0
    found = all_reduce.exchange(sizes, ranks, link, backward, sent)
    if values["sharding"] == "zero1" and ranks > 1:
        # Each rank sends its share of the new weights to the others after the update.
        weights = parameters * 4 * (ranks - 1) / ranks / link.bytes_per_second
        found = Exchange(found.seconds + weights, found.exposed + weights)
    return found


def scaled_speed(
    values: Mapping[str, Any], parameters: int, one: SingleSpeed, at: Devices, gpus: int, nodes: int = 1
) -> ScaledSpeed:
    """The forecast for `gpus` GPUs on each of `nodes` machines, with the settings `values` for each GPU."""
    rate = (one.low + one.high) / 2
    step = max(rate, one.step or rate)
    supply = max(rate, one.supply or rate) if one.supply else None
    images = values["batch_size"] * images_per_sample(values)
    seconds = images / step
    exchange = gradient_exchange(values, parameters, at, seconds, gpus, nodes)
    longer = images / (seconds + exchange.exposed / values["accumulation_steps"])
    limits = {"exchange" if longer < 0.98 * step else "step": longer}
    # On the CPU the ranks of a machine share the cores that the speed was measured with.
    if not at.on_gpu and gpus > 1:
        limits = {"cores": longer / gpus}
    if supply is not None:
        workers = max(1, values["num_workers"])
        here, there = min(workers, at.cores), min(gpus * workers, at.cores) / gpus
        limits["cores" if there < here else "workers"] = supply * there / here
    limiter = min(limits, key=lambda name: limits[name])
    before = min(step, supply or step)
    share = limits[limiter] / before
    times = gpus * nodes * share
    return ScaledSpeed(gpus, nodes, one.low * times, one.high * times, share, exchange, limiter)


def with_times(
    speed: ScaledSpeed, images: Images | None, source: str, cost_per_hour: float, machine_gpus: int
) -> ScaledSpeed:
    """`speed` with the time and cost of the run.

    `machine_gpus`: GPUs of the machine with that price; for more of them the price grows in proportion.
    """
    if images is None or speed.low <= 0:
        return speed
    eta = Eta(
        images.epoch / speed.high, images.epoch / speed.low, images.total / speed.high, images.total / speed.low, source
    )
    hourly = cost_per_hour * speed.nodes * max(1.0, speed.gpus / machine_gpus)
    cost = (hourly * eta.total_low / 3600, hourly * eta.total_high / 3600) if hourly else None
    return replace(speed, eta=eta, cost=cost)


def shapes_for(gpus: int, nodes: int) -> Sequence[tuple[int, int]]:
    """`SHAPES`, with the planned one if it is none of them."""
    return SHAPES if (gpus, nodes) in SHAPES else (*SHAPES, (gpus, nodes))
