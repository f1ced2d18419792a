"""Charts over the run: throughput, loss, validation metric, and the small trends below meters."""

from __future__ import annotations

from gputrain.tui import format as words
from gputrain.tui.history import Curve
from gputrain.tui.lines import Line, fit
from gputrain.tui.metric import Show
from gputrain.tui.metrics import METRICS
from gputrain.tui.snapshot import Snapshot
from gputrain.tui.theme import Role
from gputrain.tui.widgets.axes import ZOOM_NAMES, ZOOMS, x_range
from gputrain.tui.widgets.chart import Plot, draw
from gputrain.tui.widgets.panel import Panel, View

Mark = tuple[float, float, str, Role]
_TREND_ROWS = 4


def trend(view: View, key: str, columns: int, rows: int, role: Role = "data") -> list[Line]:
    """The history of the metric called `key` in the rows that are left; nothing where they are too few."""
    if rows < _TREND_ROWS:
        return []
    metric = METRICS[key]
    return [
        fit((), columns),
        *_chart(view, key, metric.low, metric.high, metric.tick, role, columns, rows - 1, least=metric.least),
    ]


def _chart(
    view: View,
    key: str,
    low: float | None,
    high: float | None,
    label: Show,
    role: Role,
    columns: int,
    rows: int,
    marks: tuple[Mark, ...] = (),
    least: float = 0.0,
) -> list[Line]:
    zoom = ZOOMS[view.zoom]
    start, end = x_range(view.now.elapsed, zoom)
    plot = Plot(
        curve=view.now.curves.get(key, Curve()),
        role=role,
        low=low,
        high=high,
        start=start,
        end=end,
        marks=marks,
        label=label,
        least=least,
        joined_until=view.now.sparse_until,
        ascii=view.ascii,
    )
    return draw(plot, columns, rows)


class ThroughputPanel(Panel):
    """Images per second over time."""

    TITLE = "Throughput"

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The rate's history."""
        return (now.curves.get("images_per_second"),)

    def title(self, view: View) -> str:
        """With the span of the charts."""
        return f"Throughput, {ZOOM_NAMES[view.zoom]}" if view.zoom else "Throughput"

    def note(self, view: View) -> str:
        """The mean of the run."""
        totals = view.now.totals
        mean = totals.images / totals.step_seconds if totals.step_seconds > 0 else None
        return f"mean {words.rate(mean)} img/s" if mean is not None else ""

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """The chart."""
        return _chart(view, "images_per_second", 0, None, words.tick, "compute", columns, rows)


class LossPanel(Panel):
    """Training loss as a line, validation losses as marks."""

    TITLE = "Loss"

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """Both losses' histories."""
        return (now.curves.get("loss"), now.curves.get("val_loss"))

    def note(self, view: View) -> str:
        """The newest values."""
        now = view.now
        tried = now.validations[-1].metrics.get("loss") if now.validations else None
        found = [f"train {words.figure(now.loss)}"] if now.loss is not None else []
        found += [f"◆ val {words.figure(tried)}"] if tried is not None else []
        return "  ".join(found)

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """The chart."""
        return _chart(view, "loss", None, None, words.tick, "copy", columns, rows, _marks(view.now, "loss", "◆"))


class MetricPanel(Panel):
    """The validation metric that decides, with its best value marked."""

    TITLE = "Validation"

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The metric's history."""
        return (now.best, now.curves.get(f"val_{main_metric(now)}"))

    def title(self, view: View) -> str:
        """The metric's name."""
        name = main_metric(view.now)
        return f"Validation {name}" if name else "Validation"

    def note(self, view: View) -> str:
        """The best value."""
        best = view.now.best
        value = best.metrics.get(best.metric) if best else None
        if best is None or value is None:
            return ""
        return f"★ best {words.metric(best.metric, value)}"

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """The chart."""
        name = main_metric(view.now)
        if not name:
            first = "the first one comes after an epoch" if view.now.settings.get("val_split", "val") else "none"
            return [*[fit((), columns)] * (rows // 2), fit((((first).center(columns), "dim"),), columns)]
        show = words.share_tick if words.is_share(name) else words.tick
        marks = _marks(view.now, name, "◆")
        return _chart(view, f"val_{name}", None, None, show, "data", columns, rows, marks)


def main_metric(now: Snapshot) -> str:
    """The metric that decides what is best; empty before the first validation."""
    return now.validations[-1].metric if now.validations else ""


def _marks(now: Snapshot, name: str, sign: str) -> tuple[Mark, ...]:
    curve = now.curves.get(f"val_{name}", Curve())
    best = now.best.metrics.get(name) if now.best else None
    return tuple((x, y, "★" if y == best else sign, "warn" if y == best else "text") for x, y in curve.recent)
