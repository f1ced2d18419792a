"""Causes that only a trace of some steps shows: lines that wait for the GPU, small operators, copies without overlap.

They hold from the trace on until a setting changes. The thresholds are those of the other causes; those of a GPU were
tried on traces written by hand.
"""

from __future__ import annotations

from collections.abc import Callable

from gputrain.engine.diagnosis import device_bound_fixes as fixes
from gputrain.engine.diagnosis.tree_nodes import GRAVE, MUCH, Cause, Fix, Question
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.events import TraceSummary

SHORT_KERNEL = 30e-6
"""Mean seconds of a kernel below which its launch, about 5 to 10 µs of the host, takes as long."""
SHORT_OPERATOR = 100e-6
"""The same of an operator on a CPU, where Python and the dispatcher take some microseconds for each."""


def _gpu(figure: Callable[[TraceSummary], float | None]) -> Callable[[Signals], float | None]:
    """A figure of the trace of a GPU; None without one."""
    return lambda s: figure(s.trace) if s.trace is not None and s.trace.on_gpu else None


def _cpu(figure: Callable[[TraceSummary], float | None]) -> Callable[[Signals], float | None]:
    return lambda s: figure(s.trace) if s.trace is not None and not s.trace.on_gpu else None


def _per_step(trace: TraceSummary) -> float | None:
    return trace.launches / trace.steps if trace.steps else None


def _lines(s: Signals) -> str:
    """The lines after which the GPU is idle, the most expensive first; empty where the trace has no lines."""
    points = s.trace.sync_points if s.trace is not None else ()
    return ", ".join(f"{one.line} {one.call}" for one in points if one.idle and one.line)[:400]


def _wait_less(s: Signals) -> Fix:
    lines = _lines(s)
    where = f" The GPU is idle after: {lines}." if lines else ""
    return Fix(
        f"The host waits there until the GPU is done, and launches nothing meanwhile.{where} Do it every few steps "
        "only, keep sums on the GPU, and copy with non_blocking=True."
    )


def _overlap(s: Signals) -> Fix:
    fix = fixes.copy(s)
    return (
        fix if fix.changes else Fix(f"{fix.action} Copy the next batch on a stream of its own while a step computes.")
    )


def _larger_operators(s: Signals) -> Fix:
    return Fix(
        "Python and torch's dispatcher take as long as the operators. Use larger batches, fused optimizers, or "
        "compile the model.",
        {} if s.setting("compile", False) else {"compile": True},
    )


TRACED = (
    Cause(
        "sync-points",
        "Lines of the code make the host wait for the GPU",
        (
            Question(
                _gpu(lambda t: t.gaps_sync), "in the trace the GPU was idle {} of the time after a wait", least=MUCH
            ),
        ),
        _wait_less,
        "the gaps stay the same without those lines",
        _gpu(lambda t: t.gaps_sync),
        (Question(_gpu(lambda t: t.gaps_host), "because of slow launches {}"),),
    ),
    Cause(
        "small-operators",
        "Small operators: the host launches them more slowly than the GPU runs them",
        (
            Question(
                _gpu(lambda t: t.gaps_host), "in the trace the GPU waited for launches {} of the time", least=MUCH
            ),
            Question(
                _gpu(lambda t: None if t.mean_kernel is None else 1e6 * t.mean_kernel),
                "a kernel took {} µs",
                below=1e6 * SHORT_KERNEL,
                unit="count",
            ),
        ),
        fixes.less_launching,
        "the gaps stay the same with a batch twice as large",
        _gpu(lambda t: t.gaps_host),
        (Question(_gpu(_per_step), "{} kernels in a step", unit="count"),),
    ),
    Cause(
        "small-cpu-operators",
        "Small operators: Python takes much of the time between them",
        (
            Question(_cpu(lambda t: t.gaps), "in the trace no operator ran {} of the time", least=GRAVE),
            Question(
                _cpu(lambda t: None if t.mean_kernel is None else 1e6 * t.mean_kernel),
                "an operator took {} µs",
                below=1e6 * SHORT_OPERATOR,
                unit="count",
            ),
        ),
        _larger_operators,
        "the time per image stays the same with a batch twice as large",
        _cpu(lambda t: t.gaps),
        (Question(_cpu(_per_step), "{} operators in a step", unit="count"),),
    ),
    Cause(
        "exposed-copies",
        "Copies that no kernel overlaps take much of the time",
        (Question(_gpu(lambda t: t.copies), "in the trace only a copy ran {} of the time", least=MUCH),),
        _overlap,
        "the rate stays the same with pinned memory",
        _gpu(lambda t: t.copies),
        (Question(_gpu(lambda t: t.copies_total), "copies in all {}"),),
    ),
)
"""Each is checked independently."""
INSTEAD = {
    "sync-points": ("launch-bound", "host-bound"),
    "small-operators": ("launch-bound", "host-bound", "small-work"),
    "exposed-copies": ("host-copy",),
}
"""Causes that are not reported beside one that the trace has shown: it tells them apart."""
