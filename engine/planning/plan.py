"""The plan of a run: final settings, predicted memory and time, warnings and refusals.

Pure: the machine, the data and the measured speed are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.units import GIB, size
from gputrain.engine.configuration import global_batch, settings
from gputrain.engine.configuration.sections.host_list import read_hosts
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.configuration.settings import Setting, shown
from gputrain.engine.estimates import calibration, gpu_memory, host_memory, updates_per_epoch
from gputrain.engine.estimates.calibration import Calibration
from gputrain.engine.estimates.gpu_memory import VramBudget
from gputrain.engine.estimates.host_memory import DataFacts, RamBudget
from gputrain.engine.estimates.scaling_forecast import ScaledSpeed
from gputrain.engine.estimates.throughput_forecast import forecast, largest_batch, memory_of
from gputrain.engine.estimates.updates_per_epoch import BufferRow, Eta, Rate, ScaleRow, UpdateCounts
from gputrain.engine.events.speed_forecast import SpeedForecast
from gputrain.engine.hardware.machine import GpuInfo, Machine
from gputrain.engine.planning import fallbacks, scaling_plan, shared_memory_check
from gputrain.engine.planning.plan_draft import PlanDraft, SettingsLayer
from gputrain.engine.planning.plan_summary import plan_facts, skipped_facts, speed_facts

DEFAULT = "default"
"""Origin of a setting that no layer sets."""
THIS_MACHINE = "this machine"
"""Origin of a setting that a fallback changed."""
COMFORT = 0.8
"""Share of a memory from which the plan warns; its advice stays below it."""


class PlanRow(Struct, frozen=True):
    """One setting of the plan, as text."""

    setting: str
    section: str
    value: str
    origin: str
    note: str
    changed: bool
    """True when the plan uses another value than the one asked for."""


class Plan(Struct, frozen=True):
    """The plan of a run."""

    config: RunConfig
    rows: tuple[PlanRow, ...]
    origins: dict[str, str]
    """The origin of each setting's value, by setting name."""
    ram: RamBudget
    vram: VramBudget | None
    """None when training on the CPU."""
    updates: UpdateCounts
    eta: Eta | None
    adjustments: tuple[str, ...]
    """Values of profile or recipe that this machine cannot use; each is also in its row."""
    warnings: tuple[str, ...]
    refuses: tuple[str, ...]
    """Why the run cannot start; empty if it can."""
    forceable: tuple[str, ...]
    """Those of `refuses` that rest on an estimate of memory, which ``--force`` overrules."""
    facts: tuple[tuple[str, str], ...]
    """Name and text of each fact: device, batch, learning rate, memory, time."""
    scaling: tuple[ScaleRow, ...]
    """Totals of the same settings on 1, 2, 4 and 8 GPUs, and on 4 machines with one each."""
    buffers: tuple[BufferRow, ...]
    """RAM buffers for other numbers of workers, up to twice the cores."""
    skipped: tuple[str, ...] = ()
    """All files and folders that are skipped among the images, by kind, with an example of each."""
    forecast: SpeedForecast | None = None
    """None without a calibration for these settings."""
    speeds: tuple[ScaledSpeed, ...] = ()
    """Predicted speed for the rows of `scaling`; empty where the speed of one GPU or the model's size is unknown."""
    speed_basis: tuple[str, ...] = ()
    """The origin of the figures in `speeds`, a line each."""

    def stands(self, *, force: bool) -> tuple[str, ...]:
        """The refusals that hold; with `force` without those that rest on an estimate."""
        return tuple(text for text in self.refuses if not force or text not in self.forceable)

    def overruled(self, *, force: bool) -> tuple[str, ...]:
        """The refusals that `force` turns into warnings. Raises BadInput if any other refusal holds."""
        stays = self.stands(force=force)
        if not stays:
            return self.refuses
        hint = "" if force or len(self.forceable) < len(self.refuses) else " (--force starts anyway)"
        raise BadInput("; ".join(stays) + hint)


def make_plan(
    layers: Sequence[SettingsLayer],
    machine: Machine,
    facts: DataFacts | None = None,
    rate: Rate | None = None,
    warnings: Iterable[str] = (),
    refusals: Iterable[str] = (),
    calibrations: Sequence[Calibration] = (),
    forceable: Iterable[str] = (),
    more_facts: Iterable[tuple[str, str]] = (),
) -> Plan:
    """The plan for `layers`, of which later ones override earlier ones. Raises BadInput for a value out of bounds.

    `calibrations` are all of the recipe on this machine; the newest one for these settings is used.
    `forceable` are those of `refusals` that --force overrides. `more_facts` are shown after the plan's own.
    """
    draft = _draft(layers, machine, facts)
    values = draft.values
    draft.warnings[:0] = warnings
    draft.refusals.extend(refusals)
    draft.estimated.extend(forceable)
    fallbacks.apply_fallbacks(draft)
    made = calibration.choose(calibrations, values)
    speed = _forecast(draft, made) if made else None
    if made:
        facts = facts or DataFacts(
            made.train_images, made.val_images, made.file_bytes, host_memory.images_per_sample(draft.values)
        )
    ram = _ram(draft, facts, made)
    vram = _vram(draft, made) if draft.gpu else None
    nodes = len(read_hosts(values["hosts"])) or 1
    ranks = global_batch.rank_count(values)
    updates = updates_per_epoch.update_counts(values, ranks, facts)
    speeds = scaling_plan.scaled_speeds(draft, facts, rate, speed, nodes)
    scaled = scaling_plan.planned(speeds, values["devices"], nodes)
    eta = _eta(speed) if speed and ranks == 1 else updates_per_epoch.eta(values, facts, rate)
    eta = scaled.eta if scaled is not None else eta
    rows = tuple(_row(setting, draft) for setting in settings.table().values())
    return Plan(
        config=settings.build(values),
        rows=rows,
        origins={row.setting: row.origin for row in rows},
        ram=ram,
        vram=vram,
        updates=updates,
        eta=eta,
        adjustments=tuple(draft.adjustments),
        warnings=tuple(draft.warnings),
        refuses=tuple(draft.refusals),
        forceable=tuple(draft.estimated),
        facts=(
            *plan_facts(draft, ram, vram, updates, eta, nodes),
            *skipped_facts(facts),
            *speed_facts(speed, made, calibrations, draft),
            *scaling_plan.scaling_facts(draft, scaled, nodes),
            *more_facts,
        ),
        scaling=updates_per_epoch.scale_table(values),
        buffers=updates_per_epoch.buffer_table(values, machine.usable_cores),
        skipped=facts.skipped_texts if facts is not None else (),
        forecast=speed if ranks == 1 else None,
        speeds=speeds,
        speed_basis=scaling_plan.speed_basis(draft, rate, speed, speeds),
    )


def _draft(layers: Sequence[SettingsLayer], machine: Machine, facts: DataFacts | None) -> PlanDraft:
    """The values of `layers`, of which later ones override earlier ones; warnings of the machine and the data."""
    given: dict[str, SettingsLayer] = {}
    values = settings.flatten(RunConfig())
    for layer in layers:
        for name, value in layer.values.items():
            setting = settings.find(name)
            values[setting.name] = settings.check(setting, value)
            given[setting.name] = layer
    draft = PlanDraft(values, given, machine, fallbacks.pick_gpu(machine, values["device"], values["engine"]))
    draft.warnings.extend(f"data_dir: {text}" for text in (facts.folder_warnings if facts is not None else ()))
    draft.warnings.extend(text for text in (machine.assumed, machine.logout) if text)
    return draft


def _forecast(draft: PlanDraft, made: Calibration) -> SpeedForecast:
    available, shm_free = draft.machine.memory_available, draft.machine.shm_free
    memory: int | None = available
    if draft.gpu is not None and draft.gpu.unified:
        host = host_memory.ram_budget(draft.values, limit=available, in_use=0, cuda=True, shm_free=shm_free)
        memory = max(0, available - host.total)
    elif draft.gpu is not None:
        memory = _free_vram(draft.gpu, 1.0)
    return forecast(made, draft.values, memory=memory, ram_available=available, shm_free=shm_free)


def _eta(speed: SpeedForecast) -> Eta:
    fast, slow = speed.rate / speed.high, speed.rate / speed.low
    epoch, total = speed.epoch_seconds, speed.total_seconds
    return Eta(epoch * fast, epoch * slow, total * fast, total * slow, "calibrated on this machine")


def _row(setting: Setting, draft: PlanDraft) -> PlanRow:
    name = setting.name
    layer = draft.layers.get(name)
    origin = THIS_MACHINE if name in draft.changed else layer.origin if layer else DEFAULT
    note = draft.notes.get(name) or (layer.source if layer else "")
    return PlanRow(name, setting.section, shown(draft.values[name]), origin, note, name in draft.changed)


def _ram(draft: PlanDraft, facts: DataFacts | None, made: Calibration | None) -> RamBudget:
    machine = draft.machine
    in_use = max(0, machine.memory_limit - machine.memory_available)

    def take(values: Mapping[str, Any]) -> RamBudget:
        return host_memory.ram_budget(
            values,
            limit=machine.memory_limit,
            in_use=in_use,
            cuda=draft.gpu is not None,
            facts=facts,
            shm_free=machine.shm_free,
            gpu_bytes=_unified_bytes(draft.gpu, made, values),
        )

    ram, on_gpu = take(draft.values), _unified_bytes(draft.gpu, made, draft.values)
    what = f"RAM {size(ram.total)} of {size(ram.limit)}, {size(ram.buffer)} of it the batch buffer"
    what += f", {size(on_gpu)} for the GPU (unified memory)" if on_gpu else ""
    # As for a GPU's own memory: with recomputed blocks the estimate is an upper bound.
    least = ram.total - (on_gpu or 0) if draft.values["gradient_checkpointing"] else ram.total
    refuse = least > ram.limit
    if ram.total > COMFORT * ram.limit:
        advice = _less_host_memory(draft.values, lambda values, share: take(values).total <= share * ram.limit)
        draft.add_estimate(what, refuse, advice)
    shared_memory_check.check_batches(draft, ram)
    shared_memory_check.check_cache(draft, ram)
    return ram


def _unified_bytes(gpu: GpuInfo | None, made: Calibration | None, values: Mapping[str, Any]) -> int | None:
    """Bytes of RAM that a run takes on a GPU with unified memory; None on others, and where it is unknown."""
    if gpu is None or not gpu.unified:
        return None
    measured = memory_of(made, values["batch_size"]) if made else None
    return gpu_memory.vram_budget(values, limit=None).total if measured is None else measured


def _vram(draft: PlanDraft, made: Calibration | None) -> VramBudget:
    assert draft.gpu is not None
    in_use = draft.gpu.memory_used
    vram = gpu_memory.vram_budget(draft.values, limit=draft.gpu.memory, in_use=in_use)
    measured = memory_of(made, draft.values["batch_size"]) if made else None
    if made is not None and measured is not None:
        note = f"at batches of {' and '.join(str(s.batch_size) for s in made.steps)}"
        vram = gpu_memory.measured_budget(draft.values, measured, note, limit=draft.gpu.memory, in_use=in_use)
    if vram.total is None or vram.limit is None:
        return vram
    limit = vram.limit
    if vram.total > COMFORT * limit:
        taken = f", {size(in_use)} of it in use now" if in_use else ""
        what = f"VRAM {size(vram.total)} of {size(limit)}{taken}"
        # Below the warning level if possible, else below the limit.
        fitting = _fitting(draft, made, COMFORT) or _fitting(draft, made, 1.0)
        # The saving of recomputed blocks depends on the model, so the estimate is an upper bound.
        refuse = vram.total > limit and not draft.values["gradient_checkpointing"]
        draft.add_estimate(what, refuse, _smaller_batch(draft.values["batch_size"], fitting, in_use))
    return vram


def _fitting(draft: PlanDraft, made: Calibration | None, share: float) -> int:
    """The largest batch within `share` of the GPU's memory; a multiple of 8 from 8 on, 0 if none fits."""
    assert draft.gpu is not None
    free = _free_vram(draft.gpu, share) or 0
    of_one = free - gpu_memory.beyond_one_device(draft.values)
    largest = (largest_batch(made, of_one, 1.0) if made else gpu_memory.largest_batch(draft.values, free)) or 0
    return largest // 8 * 8 if largest >= 8 else largest


def _free_vram(gpu: GpuInfo, share: float) -> int | None:
    """Bytes of `share` of the GPU's memory that are not in use yet; None where the memory is unknown."""
    return None if gpu.memory is None else max(0, int(gpu.memory * share) - gpu.memory_used)


def _smaller_batch(batch: int, fitting: int, in_use: int) -> str:
    """The advice for too little GPU memory."""
    if not fitting:
        return "use a smaller model or image_size" + (", or stop other programs on the GPU" if in_use >= GIB else "")
    times = -(-batch // fitting)
    return f"batch_size {batch} → {fitting}; accumulation_steps {times} keeps the number of images per update"


def _less_host_memory(values: Mapping[str, Any], fits: Callable[[Mapping[str, Any], float], bool]) -> str:
    """The smallest change of one setting with which host memory suffices; else other advice."""
    for name in ("prefetch_factor", "num_workers", "batch_size"):
        smaller = _smaller(values, name, fits)
        if smaller is not None:
            rounded = smaller // 8 * 8 if name == "batch_size" and smaller >= 8 else smaller
            return f"{name} {values[name]} → {rounded}"
    return "stop other programs, or use a smaller cache"


def _smaller(values: Mapping[str, Any], name: str, fits: Callable[[Mapping[str, Any], float], bool]) -> int | None:
    """The largest value below the present one that stays under the warning level; None if not even 1 does."""
    low, high = 1, values[name] - 1
    if low > high or not fits({**values, name: low}, COMFORT):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits({**values, name: middle}, COMFORT) else (low, middle - 1)
    return low
