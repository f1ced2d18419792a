"""Takes a request for a trace from the page of a script's process, and answers it in the page's text.

The request is seen at an update that the probe looks at anyway, some times a second; only while steps are recorded it
looks at each.
"""

from __future__ import annotations

import atexit
import json
import os
from typing import Any

from .. import layout
from ..page import Page, Probe
from ..steps import Steps
from .step_trace import StepTrace


class RequestedTrace:
    """Called after updates."""

    def __init__(self, probe: Probe, steps: Steps) -> None:
        self._probe = probe
        self._steps = steps
        self._trace = StepTrace()
        self._request: dict[str, Any] = {}

    def reset(self) -> None:
        """A forked child records nothing."""
        self._trace.forget()

    def updated(self, page: Page, seconds: float) -> None:
        """An update is done: begin or go on with a recording that was asked for."""
        if "trace" in self._probe.off:
            return
        try:
            self._updated(page)
        except Exception as error:  # noqa: BLE001 - the script comes first
            self._trace.forget()
            self._probe.failed("trace", error)

    def _updated(self, page: Page) -> None:
        slots = page.slots
        if self._trace.recording:
            if self._trace.step_done():
                # From here on, what the file costs is time between two steps.
                self._end(page, "")
            else:
                self._steps.look_at = 0.0
        elif slots[layout.TRACE_WANTED] != slots[layout.TRACE_ANSWERED]:
            number = slots[layout.TRACE_ANSWERED] = slots[layout.TRACE_WANTED]
            with open(os.path.join(self._probe.folder, "trace-%d.json" % number)) as file:
                self._request = json.load(file)
            why = self._trace.begin(self._request["path"], self._request["steps"])
            self._answer(page, "failed" if why else "recording", why)
            self._steps.look_at = 0.0
            if not why:
                # An interpreter that ends while torch records ends with a segmentation fault.
                atexit.register(self._script_ends)

    def _end(self, page: Page, early: str) -> None:
        atexit.unregister(self._script_ends)
        recorded = self._trace.steps
        why = self._trace.end()
        fewer = "%d of %d steps: %s" % (recorded, self._request["steps"], early) if early else ""
        self._answer(page, "failed" if why else "written", why or fewer)

    def _script_ends(self) -> None:
        page = self._probe.page
        if page is None or not self._trace.recording:
            # A forked child, whose parent records.
            return
        try:
            self._end(page, "the script ended")
        except Exception as error:  # noqa: BLE001 - the script comes first
            self._probe.failed("trace", error)

    def _answer(self, page: Page, verdict: str, text: str) -> None:
        page.say(kind="trace", request=self._request["id"], verdict=verdict, steps=self._trace.steps, text=text)
