"""Reads runs to compare: settings, results, bottlenecks and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.config_file import read_config
from gputrain.engine.diagnosis.recorded_run_review import review
from gputrain.engine.events import AnyEvent, ModelReady, RunStarted, Scalars, Steps, Validated
from gputrain.engine.runs import event_log, run_names
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.state import script_values
from gputrain.tui.state.run_store import RunStore
from gputrain.tui.state.run_summary import Summary, summary

Axis = Literal["step", "seconds", "images"]
AXES: tuple[Axis, ...] = ("step", "seconds", "images")
POINTS = 400
"""Most points of a curve; more are merged in pairs."""
_CURVES = 40
"""Curves of a run; a script that logs a new name at each step has those of the first."""


class Point(NamedTuple):
    """A value with its position on each axis."""

    step: int
    seconds: float
    """Run time in seconds, without the pauses between its parts."""
    images: int
    value: float


@dataclass(slots=True)
class Compared:
    """The data of one run for the comparison."""

    run: RunDir
    label: str
    """Its name if it has one, else its id."""
    values: dict[str, Any]
    """Its settings by name; of a script its command and the arguments of its DataLoader."""
    summary: Summary
    cause: str
    """Its main bottleneck as text."""
    curves: dict[str, list[Point]]
    """Points in order by metric: ``loss``, ``val_…`` for each validation metric, and what a script logs."""


@dataclass(slots=True)
class _Curves:
    """Collects points from events. Steps that a resumed run repeats replace their earlier points."""

    curves: dict[str, list[Point]] = field(default_factory=dict)
    images: int = 0
    seconds: float = 0.0
    step: int = 0
    offset: float | None = None
    """Difference between `seconds` and the monotonic clock of the boot in which the event was written."""

    def feed(self, event: AnyEvent) -> None:
        if self.offset is None or isinstance(event, RunStarted) or event.mono + self.offset < self.seconds:
            self.offset = self.seconds - event.mono
        self.seconds = event.mono + self.offset
        match event:
            case RunStarted() if script_values.is_script(event.settings):
                # Its steps are counted anew each time that it is started.
                self.curves.clear()
                self.step = self.images = 0
            case Steps():
                self.step, self.images = event.step, event.images
                if event.loss is not None:
                    self._add("loss", Point(event.step, self.seconds, event.images, event.loss))
            case Validated():
                for name, value in event.metrics.items():
                    self._add(f"val_{name}", Point(event.step, self.seconds, self.images, value))
            case Scalars():
                for name, value in event.values.items():
                    self._log(name, value)
            case ModelReady():
                for name, points in self.curves.items():
                    self.curves[name] = [point for point in points if point.step <= event.start_step]
            case _:
                pass

    def _log(self, name: str, value: float) -> None:
        # `loss` is the loss that the backward pass began with.
        name = f"logged {name}" if name == "loss" else name
        if name in self.curves or len(self.curves) < _CURVES:
            self._add(name, Point(self.step, self.seconds, self.images, value))

    def _add(self, name: str, point: Point) -> None:
        points = self.curves.setdefault(name, [])
        points.append(point)
        if len(points) >= 2 * POINTS:
            self.curves[name] = _merged(points)


def _merged(points: Sequence[Point]) -> list[Point]:
    """Half as many points: each takes the position of the second of two points and the mean of their values."""
    pairs = zip(points[::2], points[1::2], strict=True)
    return [second._replace(value=(first.value + second.value) / 2) for first, second in pairs]


def read_compared(run: RunDir) -> Compared:
    """Read the record of `run`. Raises BadInput if its settings cannot be read, OSError if its record cannot."""
    store, curves = RunStore(), _Curves()
    for event in event_log.read(run.events):
        store.apply(event)
        curves.feed(event)
    findings = review(event_log.read(run.events)).findings
    label = plain(run_names.given_name(run.directory), 40) or run.id
    now = store.snapshot()
    values = script_values.arguments(now) if now.is_script else settings.flatten(read_config(run.config))
    cause = plain(findings[0].hint.title, 200) if findings else "no bottleneck found"
    return Compared(run, label, values, summary(now), cause, curves.curves)
