"""From signals to hints: a tree of causes, each with its evidence, and steadiness over time. Pure.

Why no simple thresholds: low GPU utilization has a dozen causes, and more workers help against one of them. A
rule here says what it saw, and advises only what can help; a signal that is missing is said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec
from msgspec import Struct

from gputrain.engine.diagnosis import memory, supply
from gputrain.engine.diagnosis.advice import Advice, percent
from gputrain.engine.diagnosis.signals import WINDOW_SECONDS, Signals, Window
from gputrain.engine.events import AnyEvent, HardwareSample, Hint, Phase, PhaseChanged, Steps

EVALUATE_EVERY = WINDOW_SECONDS
"""Seconds between evaluations; a hint is raised, and cleared, by two in a row, whose windows share no event."""
LITTLE_WAIT, MOSTLY_COMPUTE = 0.05, 0.90
LOW_UTILIZATION = 70.0
MUCH_COPY, MUCH_OTHER = 0.20, 0.10
VRAM_ROOM = 0.60
CPU_FULL = 95.0


class Target(Struct, frozen=True):
    """The range in which a figure of a well-used machine lies, in percent."""

    name: str
    low: float
    high: float


TARGETS = (Target("GPU", 95, 100), Target("CPU", 60, 80), Target("RAM", 40, 60))


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One thing that can be said of a run."""

    id: str
    judge: Callable[[Signals], Advice | None]


def _cpu_contention(s: Signals) -> Advice | None:
    if not _cpu_is_full(s) or not supply.is_crowded(s):
        return None
    return Advice(
        "warning",
        "Other programs take cores from the training",
        f"others used {s.foreign_cpu or 0:.1f} of {s.usable_cores or 0:g} usable cores, CPU {s.cpu or 0:.0f} % busy",
        "Move or renice the other programs: on the CPU each core that they use is one less to train with.",
    )


def _cpu_compute(s: Signals) -> Advice | None:
    if not _cpu_is_full(s) or supply.is_crowded(s):
        return None
    return Advice(
        "info",
        "Healthy: the CPU is the device, and it is fully used",
        f"{s.cpu or 0:.0f} % of {s.usable_cores or 0:g} usable cores busy, data wait {percent(s.wait)} of the time",
        "Nothing is wrong: a smaller model or smaller images, more cores, or a GPU would train faster.",
    )


def _compute_bound(s: Signals) -> Advice | None:
    if s.wait >= LITTLE_WAIT or s.compute < MOSTLY_COMPUTE or supply.cause(s) is not None or _cpu_is_full(s):
        return None
    if s.on_gpu and s.utilization is not None and s.utilization < LOW_UTILIZATION:
        return None
    precision = s.setting("precision", "auto")
    offer = " Precision bf16 or fp16 may make the steps shorter." if s.on_gpu and precision == "fp32" else ""
    return Advice(
        "info",
        "Healthy: compute-bound",
        f"computing {percent(s.compute)} of the time, data wait {percent(s.wait)}{_utilization(s)}",
        f"The data keeps up: more workers would gain nothing.{offer}",
    )


def _outside(s: Signals) -> Advice | None:
    if not _underused(s) or s.other < MUCH_OTHER or (s.copy or 0.0) >= MUCH_COPY:
        return None
    return Advice(
        "warning",
        "The GPU waits for the host between steps",
        f"{percent(s.other)} of the time was neither waiting for data nor computing{_utilization(s)}",
        "Python, the launching of kernels or logging holds the steps up: compile the model, or use bigger batches.",
        {} if s.setting("compile", False) else {"compile": True},
    )


def _copy(s: Signals) -> Advice | None:
    if not _underused(s) or s.copy is None or s.copy < MUCH_COPY:
        return None
    changes = {name: True for name in ("pin_memory", "non_blocking") if not s.setting(name, True)}
    return Advice(
        "warning",
        "Copies to the GPU take much of the time",
        f"host-to-device copies {percent(s.copy)} of the time{_utilization(s)}",
        "Page-locked, asynchronous copies overlap with computing."
        if changes
        else "The copies are asynchronous already: check the PCIe generation and width of the GPU's slot.",
        changes,
    )


def _small_work(s: Signals) -> Advice | None:
    if not _underused(s) or s.other >= MUCH_OTHER or (s.copy or 0.0) >= MUCH_COPY:
        return None
    batch, compiled = s.setting("batch_size", None), s.setting("compile", False)
    changes = {} if compiled else {"compile": True}
    room = ""
    if batch and s.vram is not None and s.vram < VRAM_ROOM:
        changes = {"batch_size": 2 * batch, **changes}
        room = f"; {percent(s.vram)} of its memory used at the peak"
    known = f" of {batch}" if batch else ""
    return Advice(
        "warning",
        "The GPU has too little work at a time",
        f"data wait only {percent(s.wait)}{_utilization(s)}{room}",
        f"Batches{known} leave it idle between kernels, and more workers cannot help: use bigger batches"
        + (" (the best learning rate changes with them)." if compiled else ", or compile the model."),
        dict(changes),
    )


def _cpu_is_full(s: Signals) -> bool:
    """The CPU trains, no core is idle for want of data, and the workers leave room."""
    return not s.on_gpu and s.cpu is not None and s.cpu >= CPU_FULL and supply.cause(s) is None


def _underused(s: Signals) -> bool:
    low = s.on_gpu and s.utilization is not None and s.utilization < LOW_UTILIZATION
    return low and supply.cause(s) is None


def _utilization(s: Signals) -> str:
    return "" if s.utilization is None else f", GPU utilization {s.utilization:.0f} %"


RULES = (
    Rule("ram-pressure", memory.ram_pressure),
    *(Rule(name, supply.judge_of(name)) for name in supply.CAUSES),
    Rule("host-copy", _copy),
    Rule("host-bound", _outside),
    Rule("small-work", _small_work),
    Rule("cpu-contention", _cpu_contention),
    Rule("cpu-compute", _cpu_compute),
    Rule("compute-bound", _compute_bound),
)
"""The most important first, among those of one severity."""

_WEIGHT = {"critical": 0, "warning": 1, "info": 2}


def evaluate(signals: Signals) -> dict[str, Hint]:
    """What holds by one window: rule → hint, in the rules' order."""
    found = {}
    for rule in RULES:
        advice = rule.judge(signals)
        if advice is not None:
            found[rule.id] = Hint(
                id=rule.id,
                severity=advice.severity,
                title=advice.title,
                evidence=advice.evidence,
                action=advice.action,
                changes=advice.changes,
            )
    return found


class Advisor:
    """Hints of a run as its events come; a clock of its own it has not."""

    def __init__(self) -> None:
        self._window = Window()
        self._evaluated: float | None = None
        self._before: dict[str, Hint] = {}
        self._shown: dict[str, Hint] = {}

    def feed(self, event: AnyEvent) -> None:
        """Learn from one recorded event (its `mono` is the time)."""
        self._window.feed(event)
        if isinstance(event, PhaseChanged) and event.phase is Phase.ENDED:
            self._before, self._shown = {}, {}
        due = self._evaluated is None or event.mono - self._evaluated >= EVALUATE_EVERY
        if due and isinstance(event, Steps | HardwareSample):
            self._evaluate(event.mono)

    def hints(self) -> tuple[Hint, ...]:
        """What holds now, the most important first."""
        return tuple(sorted(self._shown.values(), key=lambda hint: (_WEIGHT[hint.severity], _ORDER[hint.id])))

    def _evaluate(self, now: float) -> None:
        signals = self._window.signals()
        if signals is None:
            return
        self._evaluated = now
        holds = evaluate(signals)
        # Two in a row raise a hint, and one that is shown goes only when two in a row lack it.
        shown = {}
        for rule in RULES:
            hint, last, old = holds.get(rule.id), self._before.get(rule.id), self._shown.get(rule.id)
            if hint is not None and (last is not None or old is not None):
                shown[rule.id] = _steady(hint, old)
            elif hint is None and last is not None and old is not None:
                shown[rule.id] = old
        self._before, self._shown = holds, shown


_ORDER = {rule.id: number for number, rule in enumerate(RULES)}


def _steady(hint: Hint, old: Hint | None) -> Hint:
    """`hint`, not milder than it was: around a threshold it would change with every window."""
    if old is not None and _WEIGHT[old.severity] < _WEIGHT[hint.severity]:
        return msgspec.structs.replace(hint, severity=old.severity)
    return hint
