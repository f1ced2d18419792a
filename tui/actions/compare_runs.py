"""Runs beside each other: settings that differ, figures, what held each back, and their curves."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.config_file import read_config
from gputrain.engine.configuration.settings import shown
from gputrain.engine.diagnosis.review import review
from gputrain.engine.events import AnyEvent, ModelReady, RunStarted, Steps, Validated
from gputrain.engine.runs import event_log, run_names
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.render import format as fmt
from gputrain.tui.state.run_store import RunStore
from gputrain.tui.state.run_summary import Summary, summary

Axis = Literal["step", "seconds", "images"]
AXES: tuple[Axis, ...] = ("step", "seconds", "images")
POINTS = 400
"""Points of a curve at most; more are merged by twos."""
_NOT_COMPARED = frozenset(("name", "resume_from"))


class Point(NamedTuple):
    """A figure at one moment, by each axis."""

    step: int
    seconds: float
    """Since the run's start, pauses between its parts left out."""
    images: int
    value: float


@dataclass(slots=True)
class Compared:
    """What is compared of one run."""

    run: RunDir
    label: str
    """The name that a person gave it, else its id."""
    values: dict[str, Any]
    """Its settings by name."""
    summary: Summary
    cause: str
    """What held it back most, in words."""
    curves: dict[str, list[Point]]
    """``loss`` and, as ``val_…``, each metric of validation; in order."""


@dataclass(slots=True)
class _Curves:
    """Collects points from events; steps that were done again replace what was told of them before."""

    curves: dict[str, list[Point]] = field(default_factory=dict)
    images: int = 0
    seconds: float = 0.0
    offset: float | None = None
    """From the monotonic clock of the event's boot to `seconds`."""

    def feed(self, event: AnyEvent) -> None:
        if self.offset is None or isinstance(event, RunStarted) or event.mono + self.offset < self.seconds:
            self.offset = self.seconds - event.mono
        self.seconds = event.mono + self.offset
        match event:
            case Steps():
                self.images = event.images
                if event.loss is not None:
                    self._add("loss", Point(event.step, self.seconds, event.images, event.loss))
            case Validated():
                for name, value in event.metrics.items():
                    self._add(f"val_{name}", Point(event.step, self.seconds, self.images, value))
            case ModelReady():
                for name, points in self.curves.items():
                    self.curves[name] = [point for point in points if point.step <= event.start_step]
            case _:
                pass

    def _add(self, name: str, point: Point) -> None:
        points = self.curves.setdefault(name, [])
        points.append(point)
        if len(points) >= 2 * POINTS:
            self.curves[name] = _merged(points)


def _merged(points: Sequence[Point]) -> list[Point]:
    """Half as many points: each the second of two, with the mean of their values."""
    pairs = zip(points[::2], points[1::2], strict=True)
    return [second._replace(value=(first.value + second.value) / 2) for first, second in pairs]


def read_compared(run: RunDir) -> Compared:
    """Read the record of `run`. Raises BadInput where its settings cannot be read, OSError where its record cannot."""
    store, curves = RunStore(), _Curves()
    for event in event_log.read(run.events):
        store.apply(event)
        curves.feed(event)
    findings = review(event_log.read(run.events)).findings
    label = plain(run_names.given_name(run.directory), 40) or run.id
    values = settings.flatten(read_config(run.config))
    cause = plain(findings[0].hint.title, 200) if findings else "nothing stands out"
    return Compared(run, label, values, summary(store.snapshot()), cause, curves.curves)


def differences(compared: Sequence[Compared]) -> list[tuple[str, ...]]:
    """Settings that are not the same in all runs: the name, then each one's value as text."""
    names = [name for name in settings.table() if name not in _NOT_COMPARED]
    rows = [(name, *(one.values[name] for one in compared)) for name in names]
    return [(row[0], *(plain(shown(v), 60) for v in row[1:])) for row in rows if any(v != row[1] for v in row[2:])]


def figures(compared: Iterable[Compared]) -> list[tuple[str, ...]]:
    """The runs' figures as text: a title, then each one's."""
    columns = [_column(one) for one in compared]
    return [(title, *(column[title] for column in columns)) for title in columns[0]]


def _column(one: Compared) -> dict[str, str]:
    found = one.summary
    best = f"{found.metric} {fmt.metric(found.metric, found.best)}" if found.best is not None else "not validated"
    return {
        "outcome": found.outcome.value if found.outcome else "not over",
        "steps": fmt.whole(found.step),
        "time": fmt.duration(found.seconds),
        "images/s": fmt.rate(found.images_per_second),
        "waits for data": fmt.share(found.data_wait_share),
        "loss": fmt.figure(found.loss),
        "best": best,
        "peak VRAM": fmt.size(found.peak_vram) if found.peak_vram is not None else "no GPU was used",
        "held back by": one.cause,
    }


def side_by_side(compared: Sequence[Compared], metric: str, axis: Axis, rows: int) -> list[tuple[str, ...]]:
    """Each run's `metric` at `rows` equal distances along `axis`: the place, then the newest value up to there."""
    column = AXES.index(axis)
    curves = [one.curves.get(metric, []) for one in compared]
    end = max((points[-1][column] for points in curves if points), default=0)
    found = []
    for number in range(1, rows + 1):
        at = end * number / rows
        found.append(
            (
                fmt.duration(at) if axis == "seconds" else fmt.whole(at),
                *(_value(points, at, column) for points in curves),
            )
        )
    return found


def _value(points: Sequence[Point], at: float, column: int) -> str:
    """The value at a place of a curve; empty before its first point and after its last."""
    if not points or at > points[-1][column] * (1 + 1e-9):
        return ""
    number = bisect_right([point[column] for point in points], at * (1 + 1e-9))
    return fmt.figure(points[number - 1].value) if number else ""
