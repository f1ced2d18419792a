"""A trace of some steps of this training, as `ProfileCommand` asks for it."""

from __future__ import annotations

import functools
from typing import Literal

import torch

from gputrain.engine.events import Traced
from gputrain.engine.events.commands import ProfileCommand
from gputrain.engine.probe.on_request.step_trace import StepTrace
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.tracing.kineto_trace import WAIT_SPAN
from gputrain.engine.training.runtime.step_timing import StepClock


class RequestedTrace:
    """At most one at a time: the supervisor refuses a second request."""

    def __init__(self, reporter: EventReporter, clock: StepClock) -> None:
        self._reporter, self._clock = reporter, clock
        self._trace = StepTrace()
        self._request = ProfileCommand(id="")

    @property
    def recording(self) -> bool:
        """Whether steps are being recorded."""
        return self._trace.recording

    def begin(self, request: ProfileCommand) -> None:
        """Record the next steps."""
        self._request = request
        why = self._trace.begin(request.path, request.steps)
        if not why:
            self._clock.data_span = functools.partial(torch.profiler.record_function, WAIT_SPAN)
        self._report("failed" if why else "recording", why)

    def step_done(self) -> bool:
        """A step ended; returns whether the trace is complete: call `end`."""
        return self._trace.step_done()

    def end(self, early: str = "") -> None:
        """Write the trace, if one is being recorded; `early`: why it has fewer steps than wanted."""
        if not self._trace.recording:
            return
        self._clock.data_span = None
        recorded = self._trace.steps
        why = self._trace.end()
        fewer = f"{recorded} of {self._request.steps} steps: {early}" if early else ""
        if why and early:
            why = f"{why}: {early}"
        self._report("failed" if why else "written", why or fewer)

    def _report(self, verdict: Literal["recording", "written", "failed"], text: str) -> None:
        self._reporter.send(Traced(request=self._request.id, verdict=verdict, steps=self._trace.steps, text=text))
