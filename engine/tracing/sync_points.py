"""Lines of Python at which the host waits for the device, and what the device does after that. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events.trace import SyncPoint
from gputrain.engine.tracing.intervals import Intervals
from gputrain.engine.tracing.kineto_trace import Span, Trace

SHOWN = 10
_WAITS = re.compile(r"^(cuda|hip|cu)(Stream|Device|Event|Ctx)Synchronize|^(cuda|hip)Memcpy$")
"""Calls of the runtime that return when the device is done."""
_SCALARS = ("aten::_local_scalar_dense",)
"""On a CPU nothing waits; on a GPU each of these would."""
_BUILT_IN = re.compile(r"^<built-in method (\w+) of")
_FUNCTION = re.compile(r"^(.*)\((\d+)\): ")
_LIBRARIES = ("torch/", "gputrain/engine/", "<", "lightning/", "pytorch_lightning/", "accelerate/", "transformers/")
_LIBRARY_PARTS = ("site-packages/", "dist-packages/", "/lib/python3", "gputrain/engine/")


@dataclass(slots=True)
class _Found:
    count: int = 0
    seconds: float = 0.0
    idle: float = 0.0
    spans: list[Span] = field(default_factory=list)


def sync_points(trace: Trace, gaps: Intervals) -> tuple[tuple[SyncPoint, ...], float]:
    """The synchronisation points that cost most, and the seconds of `gaps` that follow one.

    `gaps`: when the device was idle although a batch was there. Only a wait that the device ran dry in counts as a
    cause of a gap; the host waits in others, too, while the device has work.
    """
    waits = [span for span in trace.runtime if _WAITS.match(span.name)]
    on_gpu = bool(trace.kernels)
    if not on_gpu:
        waits = [span for span in trace.operators if span.name in _SCALARS]
    found: dict[tuple[str, str], _Found] = defaultdict(_Found)
    callers = _Callers(trace.python)
    keys = []
    for span in waits:
        key = _place(callers.around(span), span)
        keys.append(key)
        found[key].count += 1
        found[key].seconds += span.seconds
    idle = _idle_after(waits, gaps) if on_gpu else [0.0] * len(waits)
    for key, seconds in zip(keys, idle, strict=True):
        found[key].idle += seconds
    ordered = sorted(found.items(), key=lambda item: (-item[1].idle, -item[1].seconds))
    points = tuple(
        SyncPoint(line=line, call=call, count=one.count, seconds=one.seconds, idle=one.idle)
        for (line, call), one in ordered[:SHOWN]
    )
    return points, sum(idle)


def _idle_after(waits: Sequence[Span], gaps: Intervals) -> list[float]:
    """For each wait, the seconds of the gaps that began while the host was in it."""
    idle = [0.0] * len(waits)
    begins = [begin for begin, _ in gaps]
    taken: set[int] = set()
    for number, span in enumerate(waits):
        # The gap begins when the device has nothing left, which is what the host waits for.
        at = bisect_right(begins, span.end) - 1
        while at >= 0 and gaps[at][1] > span.begin:
            if gaps[at][0] >= span.begin and at not in taken:
                taken.add(at)
                idle[number] += gaps[at][1] - gaps[at][0]
            at -= 1
    return idle


class _Callers:
    """The Python functions around a moment of a thread."""

    def __init__(self, python: Iterable[Span]) -> None:
        self._spans: dict[str, list[Span]] = defaultdict(list)
        for span in python:
            self._spans[span.thread].append(span)
        self._begins = {thread: [span.begin for span in spans] for thread, spans in self._spans.items()}
        self._parents = {thread: _parents(spans) for thread, spans in self._spans.items()}

    def around(self, span: Span) -> list[Span]:
        """The functions that `span` happened in, the innermost first."""
        spans = self._spans.get(span.thread, [])
        at = bisect_right(self._begins.get(span.thread, []), span.begin) - 1
        found = []
        while at >= 0:
            if spans[at].end >= span.end:
                found.append(spans[at])
            at = self._parents[span.thread][at]
        return found


def _parents(spans: Sequence[Span]) -> list[int]:
    """For each span the index of the innermost one around it; -1 without."""
    found = []
    stack: list[int] = []
    for number, span in enumerate(spans):
        while stack and spans[stack[-1]].end <= span.begin:
            stack.pop()
        found.append(stack[-1] if stack else -1)
        stack.append(number)
    return found


def _place(around: Sequence[Span], span: Span) -> tuple[str, str]:
    """Line and call: the innermost line of the user's own code, else the innermost one; empty without a stack."""
    lines = [line for one in around if (line := _line(one))]
    own = (line for line in lines if not _is_library(line))
    line = next(own, lines[0] if lines else "")
    method = next((found[1] for one in around[:3] if (found := _BUILT_IN.match(one.name)) is not None), "")
    call = f".{method}()" if method else ".item()" if span.name in _SCALARS else span.name
    return plain(line, 200), plain(call, 60)


def _line(function: Span) -> str:
    """The line that called `function`; in traces of older versions of torch the line where a function begins."""
    if function.called_from:
        return function.called_from
    found = _FUNCTION.match(function.name)
    return f"{found[1]}:{found[2]}" if found is not None else ""


def _is_library(line: str) -> bool:
    return line.startswith(_LIBRARIES) or any(part in line for part in _LIBRARY_PARTS)
