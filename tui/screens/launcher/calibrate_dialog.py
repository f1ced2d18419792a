"""The calibration dialog of the launcher: shows progress and the measured values."""

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
"""Measures and saves the result."""


class CalibrateScreen(WorkScreen[bool]):
    """Returns whether a new calibration was saved. Escape cancels the measurement."""

    NAME = "calibrate"
    HEADING = "Calibrate"

    def __init__(self, measure: Measure, palette: Palette, ascii_only: bool, probable: float | None = None) -> None:
        """`probable`: expected duration in seconds; None if unknown."""
        super().__init__(palette, ascii_only)
        self._measure, self._probable = measure, probable
        self._began = time.monotonic()
        self._activity = "starting"
        self._calibration: Calibration | None = None

    def work(self) -> Calibration:
        """Measure."""
        return self._measure(self.report, self.started)

    def handle_update(self, update: str) -> None:
        """Take the current activity."""
        self._activity = update

    def handle_result(self, result: Calibration) -> None:
        """Take the saved calibration."""
        self._calibration = result

    def return_value(self) -> bool:
        """Whether a calibration was saved."""
        return self._calibration is not None

    def lines(self, columns: int) -> list[Line]:
        """Activity and remaining time, or the measured values."""
        if self._error:
            return [line((f"■ {self._error}", "bad"))]
        if self._calibration is None:
            seconds = time.monotonic() - self._began
            rough = f"Takes about {SECONDS:.0f} s after torch was imported and the data was scanned"
            left = self._probable - seconds if self._probable is not None else 0.0
            rest = f", about {fmt.duration(left)} left" if left >= 1 else ""
            return [
                line((f"○ {self._activity}…", "data"), f"  {fmt.duration(seconds)}{rest}"),
                EMPTY,
                line("Measures the workers, the training step, both together, and their memory."),
                line(f"{rough}."),
            ]
        return [
            *_measured_lines(self._calibration),
            EMPTY,
            line("The plan now predicts speed, bottleneck and run time."),
        ]


def _measured_lines(made: Calibration) -> list[Line]:
    """The measured values as lines."""
    step = made.steps[-1]
    rows = [
        ("together", f"{fmt.rate(made.together)} img/s with {made.num_workers} workers"),
        ("workers alone", f"{fmt.rate(made.supply)} img/s"),
        ("decoding", f"{fmt.rate(made.decode_per_core)} img/s per core"),
        ("step alone", f"{fmt.rate(step.batch_size / step.seconds)} img/s with batch size {step.batch_size}"),
        ("memory", ", ".join(f"{fmt.size(s.peak_bytes)} at {s.batch_size}" for s in made.steps)),
        ("reading files", fmt.byte_rate(made.disk_rate)),
        ("validation", f"{fmt.rate(made.validation)} img/s"),
    ]
    return [line(("● measured", "good")), *(line((f"  {name:<15}", "dim"), (text, "bright")) for name, text in rows)]
