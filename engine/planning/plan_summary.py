"""The facts of a plan as text: device, batch, learning rate, memory, time and speed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gputrain.engine.common.units import duration, size
from gputrain.engine.configuration import engine_choice, global_batch
from gputrain.engine.configuration.sections import host_list
from gputrain.engine.configuration.settings import shown
from gputrain.engine.datasets.skipped_files import skipped_text
from gputrain.engine.estimates import cache_advice, calibration
from gputrain.engine.estimates.calibration import Calibration
from gputrain.engine.estimates.gpu_memory import VramBudget
from gputrain.engine.estimates.host_memory import DataFacts, RamBudget, kind_of
from gputrain.engine.estimates.updates_per_epoch import Eta, UpdateCounts
from gputrain.engine.events.speed_forecast import LIMITERS, SpeedForecast
from gputrain.engine.hardware.machine import GpuInfo, Machine
from gputrain.engine.planning.plan_draft import PlanDraft

CROWDED = 0.2
"""Share of the usable cores used by other programs during a calibration from which its plans mention it."""


def plan_facts(
    draft: PlanDraft, ram: RamBudget, vram: VramBudget | None, updates: UpdateCounts, eta: Eta | None, nodes: int = 1
) -> tuple[tuple[str, str], ...]:
    """Name and text of each fact that follows from the settings and the machine."""
    values = draft.values
    hosts, ranks = len(host_list.read_hosts(values["hosts"])), global_batch.rank_count(values)
    divided = (values["accumulation_steps"], values["devices"], hosts)
    factors = [values["batch_size"], *(n for n in divided if n > 1)]
    parts = " × ".join(map(str, factors)) if len(factors) > 1 else ""
    lr = f"{values['lr']:g} at {values['lr_batch_size']}" if values["lr_batch_size"] else "not scaled"
    steps = f"{updates.steps_per_epoch:,} batches per epoch" if updates.steps_per_epoch else "data not counted yet"
    float32 = f": {ram.batches} batches of {size(ram.batch_bytes_float32)}, plus its overhead"
    plain_loader = f"{size(ram.buffer_float32)} in a plain DataLoader{float32}"
    in_torch = [] if engine_choice.is_keras(values) else [("RAM buffer as float32", plain_loader)]
    facts = [
        ("device", _device(draft.gpu, draft.machine, values["devices"])),
        *([("hosts", _hosts(values, hosts))] if hosts else []),
        ("images per update", f"{updates.total_batch}" + (f" ({parts})" if parts else "") + f"; {steps}"),
        ("learning rate", f"{updates.scaled_lr:g} ({lr})"),
        ("RAM buffer", f"{size(ram.buffer)}: {ram.batches} batches of {size(ram.batch_bytes)} ({kind_of(values)})"),
        *in_torch,
        ("RAM", f"{size(ram.total)} of {size(ram.limit)}"),
    ]
    if vram is not None:
        limit = f" of {size(vram.limit)}" if vram.limit else ""
        limit = ", part of the RAM above (unified memory)" if draft.gpu and draft.gpu.unified else limit
        taken = f", {size(draft.gpu.memory_used)} of it in use now" if draft.gpu and draft.gpu.memory_used else ""
        facts.append(("VRAM", f"{size(vram.total)}{limit}{taken}" if vram.total else f"unknown: {vram.source}"))
    facts.append(("time", _time(eta, updates, ranks)))
    if values["cost_per_hour"]:
        facts.append(("cost", _cost(eta, values["cost_per_hour"] * nodes)))
    return tuple(facts)


def skipped_facts(facts: DataFacts | None) -> tuple[tuple[str, str], ...]:
    """Files in the folders of images that are skipped, by kind; nothing if there are none."""
    text = skipped_text(facts.skipped) if facts is not None else ""
    return (("skipped files", text),) if text else ()


def _device(gpu: GpuInfo | None, machine: Machine, ranks: int) -> str:
    if gpu is None:
        return f"CPU, {machine.usable_cores:g} usable cores" + (", assumed" if machine.assumed else "")
    there = len(machine.gpus)
    others = f", one of {there} GPUs: devices=all trains on all" if there > 1 else ""
    if ranks > 1:
        others = f", the first of {ranks}" + (f" used out of {there}" if there > ranks else "")
    assumed = ", assumed (another machine)" if machine.assumed else ""
    memory = f", {size(gpu.memory)}" if gpu.memory else ", unified memory" if gpu.unified else ""
    return gpu.name + memory + others + assumed


def _hosts(values: Mapping[str, Any], hosts: int) -> str:
    named = ", ".join(values["hosts"].split(","))
    each = f"{hosts} × {values['devices']} processes" if hosts > 1 or values["devices"] > 1 else "one process"
    return f"{named}: {each}, over ssh; memory and device above are those of this machine"


def _time(eta: Eta | None, updates: UpdateCounts, ranks: int) -> str:
    if eta is None:
        missing = "the data has not been counted" if updates.steps_per_epoch is None else "no speed was measured"
        missing += " with several ranks" if ranks > 1 and updates.steps_per_epoch is not None else ""
        return f"unknown: {missing}"
    epoch, total = _between(eta.epoch_low, eta.epoch_high), _between(eta.total_low, eta.total_high)
    return f"{epoch} per epoch, {total} in total ({eta.source})"


def _cost(eta: Eta | None, hourly: float) -> str:
    if eta is None:
        return f"{hourly:,.2f} per hour; in total unknown, as is the time"
    low, high = (f"{hourly * seconds / 3600:,.2f}" for seconds in (eta.total_low, eta.total_high))
    return f"{low if low == high else f'{low} to {high}'} in total, {hourly:,.2f} per hour"


def _between(low: float, high: float) -> str:
    first, second = duration(low), duration(high)
    return first if first == second else f"{first} to {second}"


def speed_facts(
    speed: SpeedForecast | None,
    made: Calibration | None,
    calibrations: Sequence[Calibration],
    draft: PlanDraft,
) -> tuple[tuple[str, str], ...]:
    """Facts about speed from the calibrations; empty without any."""
    machine, ranks = draft.machine, global_batch.rank_count(draft.values)
    if ranks > 1 and speed is not None:
        return (("speed", f"one rank alone: {speed.low:.0f} to {speed.high:.0f} img/s"),)
    if speed is not None and made is not None:
        parts = f"workers {speed.supply:.0f}, step {speed.step:.0f}"
        if speed.disk is not None:
            parts += f", disk {speed.disk:.0f}"
        limit = f"limited by {LIMITERS[speed.limiter]} (alone: {parts})"
        facts = [("speed", f"{speed.low:.0f} to {speed.high:.0f} img/s, {limit}")]
        if made.others is not None and made.others > CROWDED * made.usable_cores:
            text = f"while other programs used {made.others:.1f} cores; calibrate again without them"
            facts.append(("measured", text))
        if speed.largest_batch is not None:
            facts.append(("largest batch", f"{speed.largest_batch} (from the measured memory)"))
        if offered := cache_advice.advise_cache(made, draft.values, machine.memory_available, machine.shm_free):
            facts.append(("faster with", offered))
        return tuple(facts)
    if not calibrations:
        return ()
    newest = max(calibrations, key=lambda one: one.made)
    changes = [f"{n} {shown(a)} → {shown(b)}" for n, (a, b) in calibration.difference(newest, draft.values).items()]
    more = " …" if len(changes) > 3 else ""
    return (("speed", f"unknown: calibrated with other settings ({', '.join(changes[:3])}{more})"),)
