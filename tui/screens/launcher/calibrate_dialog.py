"""A calibration over the launcher: what is being measured, how long it takes, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from gputrain.engine.estimates.calibration import Calibration
from gputrain.engine.jobs.calibration_job import SECONDS
from gputrain.engine.processes.child_job import Started, Tell
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import EMPTY, Line, line
from gputrain.tui.render.theme import Palette
from gputrain.tui.screens.launcher.work_dialog import WorkScreen

Measure = Callable[[Tell, Started], Calibration]
"""Measures and keeps the result."""


class CalibrateScreen(WorkScreen[bool]):
    """Returns whether there is a new calibration. Escape ends the measurement."""

    NAME = "calibrate"
    HEADING = "Calibrate"

    def __init__(self, measure: Measure, palette: Palette, ascii_only: bool, probable: float | None = None) -> None:
        """`probable`: how many seconds it will take; None: not known."""
        super().__init__(palette, ascii_only)
        self._measure, self._probable = measure, probable
        self._began = time.monotonic()
        self._doing = "starting"
        self._made: Calibration | None = None

    def work(self) -> Calibration:
        """The measurement."""
        return self._measure(self.tell, self.started)

    def hear(self, news: str) -> None:
        """What is being done."""
        self._doing = news

    def take(self, made: Calibration) -> None:
        """It is kept."""
        self._made = made

    def result(self) -> bool:
        """Whether there is a new one."""
        return self._made is not None

    def lines(self, columns: int) -> list[Line]:
        """What is done and how long it takes, or what came of it."""
        if self._error:
            return [line((f"■ {self._error}", "bad"))]
        if self._made is None:
            seconds = time.monotonic() - self._began
            rough = f"about {SECONDS:.0f} s, after torch has started and the data are known"
            left = self._probable - seconds if self._probable is not None else 0.0
            rest = f", about {fmt.duration(left)} left" if left >= 1 else ""
            return [
                line((f"○ {self._doing}…", "data"), f"  {fmt.duration(seconds)}{rest}"),
                EMPTY,
                line("Measures the workers, the step, both together and the memory they take:"),
                line(f"{rough}."),
            ]
        return [*_result(self._made), EMPTY, line("The plan now foretells speed, limit and times from it.")]


def _result(made: Calibration) -> list[Line]:
    """The measurements in words."""
    step = made.steps[-1]
    rows = [
        ("together", f"{fmt.rate(made.together)} img/s with {made.num_workers} workers"),
        ("workers alone", f"{fmt.rate(made.supply)} img/s"),
        ("decoding", f"{fmt.rate(made.decode_per_core)} img/s a core"),
        ("step alone", f"{fmt.rate(step.batch_size / step.seconds)} img/s at batches of {step.batch_size}"),
        ("memory", ", ".join(f"{fmt.size(s.peak_bytes)} at {s.batch_size}" for s in made.steps)),
        ("reading files", fmt.byte_rate(made.disk_rate)),
        ("validation", f"{fmt.rate(made.validation)} img/s"),
    ]
    return [line(("● measured", "good")), *(line((f"  {name:<15}", "dim"), (text, "bright")) for name, text in rows)]
