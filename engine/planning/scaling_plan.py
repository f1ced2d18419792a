"""The part of a plan about several GPUs and machines: predicted speed, time, cost, and what they rest on. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputrain.engine.common.units import size
from gputrain.engine.configuration import engine_choice
from gputrain.engine.estimates import scaling_forecast, updates_per_epoch
from gputrain.engine.estimates.gpu_memory import parameters_of
from gputrain.engine.estimates.host_memory import DataFacts
from gputrain.engine.estimates.scaling_forecast import Devices, Images, ScaledSpeed, SingleSpeed
from gputrain.engine.estimates.updates_per_epoch import Rate
from gputrain.engine.events.speed_forecast import SpeedForecast
from gputrain.engine.planning.plan_draft import PlanDraft

_LIMITS = {
    "step": "the training step",
    "exchange": "the gradient exchange",
    "workers": "the workers",
    "cores": "the cores of each machine, which its ranks share",
}


def scaled_speeds(
    draft: PlanDraft, facts: DataFacts | None, rate: Rate | None, speed: SpeedForecast | None, nodes: int = 1
) -> tuple[ScaledSpeed, ...]:
    """The forecast for each shape of `scaling_forecast.SHAPES` and for the planned one, on `nodes` machines.

    `rate` and `speed` are of one GPU: a published rate, and a forecast by a calibration. Empty where neither is known,
    or the number of parameters is not.
    """
    values = draft.values
    parameters, one = parameters_of(values), _single(rate, speed)
    if parameters is None or one is None or engine_choice.is_keras(values):
        return ()
    at = devices(draft)
    source = f"predicted from {_source(rate, speed, at.on_gpu)}"
    images = _images(values, facts)
    return tuple(
        scaling_forecast.with_times(
            scaling_forecast.scaled_speed(values, parameters, one, at, gpus, machines),
            images,
            source,
            values["cost_per_hour"],
            at.machine_gpus,
        )
        for gpus, machines in scaling_forecast.shapes_for(values["devices"], nodes)
    )


def devices(draft: PlanDraft) -> Devices:
    """Where the planned run trains."""
    name = draft.gpu.name if draft.gpu is not None else None
    return scaling_forecast.devices_of(draft.values, name, draft.machine.usable_cores, len(draft.machine.gpus))


def planned(speeds: tuple[ScaledSpeed, ...], gpus: int, nodes: int = 1) -> ScaledSpeed | None:
    """The row of the planned shape; None for a single GPU, or where nothing was predicted."""
    if gpus * nodes == 1:
        return None
    return next((one for one in speeds if (one.gpus, one.nodes) == (gpus, nodes)), None)


def scaling_facts(draft: PlanDraft, speed: ScaledSpeed | None, nodes: int = 1) -> tuple[tuple[str, str], ...]:
    """Facts of a run on several GPUs, with the origin of each figure; empty for a single GPU."""
    values = draft.values
    if values["devices"] * nodes == 1 or engine_choice.is_keras(values):
        return ()
    parameters = parameters_of(values)
    if parameters is None:
        return (("scaling", f"unknown: the number of parameters of {values['model']} is not in the table of models"),)
    if speed is None:
        return (("gradients", _gradients(values, parameters)), *_links(draft, nodes))
    return (
        ("scaling", _scaling(speed)),
        ("gradients", _gradients(values, parameters)),
        ("exchange", _exchange(speed, draft.gpu is not None)),
        *_links(draft, nodes),
    )


def speed_basis(
    draft: PlanDraft, rate: Rate | None, speed: SpeedForecast | None, speeds: tuple[ScaledSpeed, ...]
) -> tuple[str, ...]:
    """The origin of the figures in the table of speeds, a line each; empty without the table."""
    parameters = parameters_of(draft.values)
    if not speeds or parameters is None:
        return ()
    at, price = devices(draft), draft.values["cost_per_hour"]
    workers = (
        f"data workers: they share the {draft.machine.usable_cores:g} cores of each machine"
        if speed is not None
        else "data workers and storage: taken to keep up (not measured; calibrate measures them)"
    )
    lines = [
        f"speed of one: {_source(rate, speed, at.on_gpu)}",
        "exchange: ring all-reduce, 2 (N - 1) / N of the bytes over the slowest link (Patarasuk and Yuan 2009); "
        + (
            "hidden by the backward pass, 2/3 of a step"
            if at.on_gpu
            else "not hidden: CPU and exchange use the same cores"
        ),
        f"gradients: {_gradients(draft.values, parameters)}",
        f"within a machine: {at.within}",
        f"between machines: {at.between}; gpu_bandwidth and network_bandwidth set other figures",
        workers,
    ]
    if price:
        per = f" with {at.machine_gpus} GPU{'s' if at.machine_gpus > 1 else ''}" if at.on_gpu else ""
        lines.append(f"cost: {price:,.2f} per hour for a machine{per}, in proportion for more of them")
    return tuple(lines)


def _source(rate: Rate | None, speed: SpeedForecast | None, on_gpu: bool) -> str:
    one = "one GPU" if on_gpu else "one process"
    return f"the calibration of {one}" if speed is not None or rate is None else f"{one}'s speed, {rate.source}"


def _scaling(speed: ScaledSpeed) -> str:
    where = f"{speed.ranks} ranks" + (f" on {speed.nodes} machines" if speed.nodes > 1 else "")
    limit = _LIMITS[speed.limiter]
    return f"{where}: {speed.low:.0f} to {speed.high:.0f} img/s, efficiency {speed.efficiency:.1%}, limited by {limit}"


def _gradients(values: Mapping[str, Any], parameters: int) -> str:
    half = values["gradient_compression"] == "bf16"
    sent = f", {size(parameters * 2)} sent as bf16" if half else " as float32 (gradient_compression=bf16 sends half)"
    times = f", once in {values['accumulation_steps']} batches" if values["accumulation_steps"] > 1 else ""
    return f"{size(parameters * 4)} for {parameters:,} parameters{sent}{times}"


def _exchange(speed: ScaledSpeed, on_gpu: bool) -> str:
    found = speed.exchange
    hidden = (
        f"{found.overlap:.0%} of it during the backward pass (2/3 of the step)"
        if on_gpu
        else "none of it during the backward pass, as on a CPU both use the same cores"
    )
    return f"{found.seconds * 1e3:.3g} ms for each update by ring all-reduce, {hidden}"


def _links(draft: PlanDraft, nodes: int) -> tuple[tuple[str, str], ...]:
    at = devices(draft)
    found = [("GPU bandwidth" if at.on_gpu else "bandwidth", str(at.within))]
    return (*found, ("network bandwidth", str(at.between))) if nodes > 1 else tuple(found)


def _single(rate: Rate | None, speed: SpeedForecast | None) -> SingleSpeed | None:
    if speed is not None:
        return SingleSpeed(speed.low, speed.high, speed.step, speed.supply)
    return SingleSpeed(rate.low, rate.high) if rate is not None else None


def _images(values: Mapping[str, Any], facts: DataFacts | None) -> Images | None:
    if facts is None or not facts.train_images:
        return None
    steps = updates_per_epoch.update_counts(values, 1, facts).steps_per_epoch or 1
    epoch = steps * values["batch_size"] * facts.group
    total = epoch * values["epochs"]
    if values["max_steps"]:
        total = min(total, values["max_steps"] * values["batch_size"] * facts.group)
    return Images(epoch, total)
