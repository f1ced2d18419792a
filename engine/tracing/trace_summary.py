"""What a trace shows: the most expensive operators, and what the device did over the time. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events.trace import OperatorTime, TraceSummary
from gputrain.engine.tracing.intervals import Intervals, difference, length, union
from gputrain.engine.tracing.kineto_trace import DATA_SPANS, Span, Trace
from gputrain.engine.tracing.sync_points import sync_points

ROWS = 10
_CPU_COPIES = ("aten::copy_",)


def summarize(trace: Trace, steps: int) -> TraceSummary:
    """The summary of a trace of `steps` steps. Without kernels it is that of a CPU."""
    begin, end = trace.bounds
    seconds = end - begin
    on_gpu = bool(trace.kernels)
    operators = [span for span in trace.operators if span.kind == "cpu_op"]
    data = _times(trace.data)
    if on_gpu:
        kernels, copies_total = _times(trace.kernels), _times(trace.copies)
    else:
        kernels = difference(_times(operators), data)
        copies_total = difference(_times(span for span in operators if span.name in _CPU_COPIES), data)
        kernels = difference(kernels, copies_total)
    copies = difference(copies_total, kernels)
    waiting = difference(data, union(kernels, copies))
    gaps = difference([(begin, end)] if seconds > 0 else [], union(kernels, copies, data))
    points, after_sync = sync_points(trace, gaps)
    launched = trace.kernels if on_gpu else [span for span in operators if span.leaf]
    share = 1 / seconds if seconds > 0 else 0.0
    return TraceSummary(
        steps=steps,
        seconds=seconds,
        on_gpu=on_gpu,
        operators=_device_rows(trace) if on_gpu else _host_rows(operators),
        kernels=length(kernels) * share,
        copies=length(copies) * share,
        data=length(waiting) * share,
        gaps=length(gaps) * share,
        copies_total=length(copies_total) * share,
        gaps_sync=after_sync * share,
        gaps_host=max(0.0, length(gaps) - after_sync) * share,
        launches=len(launched),
        mean_kernel=sum(span.seconds for span in launched) / len(launched) if launched else None,
        sync_points=points,
    )


def _times(spans: Iterable[Span]) -> Intervals:
    return union((span.begin, span.end) for span in spans)


def _host_rows(operators: Iterable[Span]) -> tuple[OperatorTime, ...]:
    """By the host's time in an operator itself."""
    times: dict[str, list[float]] = defaultdict(list)
    for span in operators:
        if not span.name.startswith(DATA_SPANS):
            times[span.name].append(max(0.0, span.seconds - span.children))
    return _rows({name: (len(found), sum(found)) for name, found in times.items()})


def _device_rows(trace: Trace) -> tuple[OperatorTime, ...]:
    """By the time of the kernels and copies that an operator launched."""
    names = {span.id: span.name for span in trace.operators if span.id is not None and span.kind == "cpu_op"}
    calls: dict[str, set[int]] = defaultdict(set)
    times: dict[str, float] = defaultdict(float)
    alone: dict[str, int] = defaultdict(int)
    for span in (*trace.kernels, *trace.copies):
        name = names.get(-1 if span.id is None else span.id, "") or span.name
        times[name] += span.seconds
        if span.id is not None and span.id in names:
            calls[name].add(span.id)
        else:
            alone[name] += 1
    return _rows({name: (len(calls[name]) + alone[name], seconds) for name, seconds in times.items()})


def _rows(times: dict[str, tuple[int, float]]) -> tuple[OperatorTime, ...]:
    total = sum(seconds for _, seconds in times.values())
    ordered = sorted(times.items(), key=lambda item: (-item[1][1], item[0]))[:ROWS]
    return tuple(
        OperatorTime(plain(name, 200), calls, seconds, seconds / total if total else 0.0)
        for name, (calls, seconds) in ordered
    )
