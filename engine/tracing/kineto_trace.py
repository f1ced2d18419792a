"""Reads the Chrome trace that torch's profiler (Kineto) writes, with the field names of its source."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

OPERATORS = ("cpu_op", "user_annotation")
KERNELS = ("kernel",)
COPIES = ("gpu_memcpy", "gpu_memset")
RUNTIME = ("cuda_runtime", "cuda_driver", "privateuse1_runtime")
PYTHON = "python_function"
WAIT_SPAN = "gputrain: wait for data"
"""Written by our own trainer while it waits for a batch."""
DATA_SPANS = ("enumerate(DataLoader)", WAIT_SPAN)
"""Start of the names of spans in which the loop waits for a batch; torch's own DataLoader writes the first."""


class UnreadableTraceError(ValueError):
    """The file is no complete trace."""


class _Event(Struct):
    ph: str = ""
    cat: str | None = None
    name: str | None = ""
    tid: int | str = 0
    ts: float = 0.0
    dur: float = 0.0
    args: dict[str, Any] = field(default_factory=dict)


class _File(Struct):
    traceEvents: list[_Event]  # noqa: N815 - the trace's own name


class Span(Struct):
    """One event with a duration. Times are seconds since the start of the trace."""

    kind: str
    """Kineto's category."""
    name: str
    thread: str
    begin: float
    end: float
    id: int | None
    """``External id``: the same for an operator and the kernels that it launched."""
    called_from: str
    """``file:line`` that called a Python function; empty where this version of torch does not write it."""
    children: float = 0.0
    """Seconds of the operators called by this one."""
    leaf: bool = True
    """It called no other operator."""

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.end - self.begin


class Trace(Struct):
    """The spans of a trace by kind, each list in the order of their start."""

    operators: list[Span]
    kernels: list[Span]
    copies: list[Span]
    runtime: list[Span]
    python: list[Span]

    @property
    def data(self) -> list[Span]:
        """The spans in which the training thread waited for a batch."""
        loop = self.training_thread
        return [span for span in self.operators if span.name.startswith(DATA_SPANS) and span.thread == loop]

    @property
    def training_thread(self) -> str:
        """The thread whose steps these are: it runs the optimizer, or else most operators."""
        counts: dict[str, int] = defaultdict(int)
        for span in self.operators:
            if span.name.startswith("Optimizer.step#"):
                return span.thread
            counts[span.thread] += 1
        return max(counts, key=lambda thread: counts[thread], default="")

    @property
    def bounds(self) -> tuple[float, float]:
        """Start and end of what was recorded."""
        spans = [*self.operators, *self.kernels, *self.copies]
        return min((s.begin for s in spans), default=0.0), max((s.end for s in spans), default=0.0)


def read_trace(path: Path) -> Trace:
    """The trace in `path`. Raises UnreadableTraceError if it is cut off or no trace, OSError if it cannot be read."""
    try:
        events = msgspec.json.decode(path.read_bytes(), type=_File).traceEvents
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UnreadableTraceError(f"the trace is incomplete or no trace: {error}") from None
    found = [event for event in events if event.ph == "X" and event.cat is not None and event.dur >= 0]
    start = min((event.ts for event in found), default=0.0)
    by_kind: dict[str, list[Span]] = defaultdict(list)
    for event in found:
        by_kind[event.cat or ""].append(_span(event, start))
    for spans in by_kind.values():
        # Of two that begin at the same time, the longer one called the other.
        spans.sort(key=lambda span: (span.begin, -span.end))

    def of(*kinds: str) -> list[Span]:
        spans = [span for kind in kinds for span in by_kind[kind]]
        return sorted(spans, key=lambda span: (span.begin, -span.end)) if len(kinds) > 1 else spans

    trace = Trace(of(*OPERATORS), of(*KERNELS), of(*COPIES), of(*RUNTIME), of(PYTHON))
    _nest(trace.operators)
    return trace


def _span(event: _Event, start: float) -> Span:
    number = event.args.get("External id")
    begin = (event.ts - start) / 1e6
    return Span(
        kind=event.cat or "",
        name=event.name or "",
        thread=str(event.tid),
        begin=begin,
        end=begin + event.dur / 1e6,
        id=number if isinstance(number, int) else None,
        called_from=str(event.args.get("CallFrom", "")),
    )


def _nest(operators: list[Span]) -> None:
    """Give each operator the time of those that it called, on its thread."""
    open_spans: dict[str, list[Span]] = defaultdict(list)
    for span in operators:
        callers = open_spans[span.thread]
        while callers and span.begin >= callers[-1].end:
            callers.pop()
        if callers:
            callers[-1].children += min(span.end, callers[-1].end) - span.begin
            callers[-1].leaf = False
        callers.append(span)
