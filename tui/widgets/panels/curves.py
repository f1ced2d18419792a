"""Chart panels (throughput, loss, validation metric) and the small charts in other panels."""

from __future__ import annotations

from gputrain.engine.common.medians import median
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import HardwareSample
from gputrain.tui.charts.braille_chart import Plot, draw
from gputrain.tui.charts.chart_axes import ZOOM_NAMES, ZOOMS, x_range
from gputrain.tui.charts.held_charts import HeldCharts, beat
from gputrain.tui.charts.value_history import Curve
from gputrain.tui.metrics.metric import Show
from gputrain.tui.metrics.metric_lookup import METRICS
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, cut, fit, line, pad
from gputrain.tui.render.theme import Role
from gputrain.tui.state import metric_values, script_values
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.widgets.panel import Panel, View

Mark = tuple[float, float, str, Role]
_TREND_ROWS = 4
_GPU_CURVES: tuple[tuple[str, str, Role], ...] = (
    ("gpu", "utilization", "compute"),
    ("vram", "VRAM", "data"),
    ("temperature", "temperature", "copy"),
)
_GPU_CELLS = 34
"""Least width of each of these charts in cells."""
_LIBRARIES = "none so far (TensorBoard, wandb, MLflow, tqdm …)"
_LIBRARIES_CELLS = len(_LIBRARIES)
_BEHIND = 20.0
"""Percentage points below the median at which a GPU is named."""
_HELD = HeldCharts()


def trend(view: View, key: str, columns: int, rows: int, role: Role = "data") -> list[Line]:
    """A chart of the metric `key` in the remaining rows; empty if there are too few rows."""
    if rows < _TREND_ROWS:
        return []
    metric = METRICS[key]
    return [
        fit((), columns),
        *_chart(view, key, metric.low, metric.high, metric.tick, role, columns, rows - 1, min_span=metric.min_span),
    ]


def gpu_trends(view: View, columns: int, rows: int) -> list[Line]:
    """Charts of GPU utilization, and if they fit of memory and temperature: mean and range over all GPUs."""
    sample = view.now.hardware
    if rows < _TREND_ROWS or sample is None:
        return []
    keys = _GPU_CURVES[: max(1, min(len(_GPU_CURVES), columns // _GPU_CELLS))]
    each = (columns - 2 * (len(keys) - 1)) // len(keys)
    drawn: list[Line] = [()] * rows
    for number, (key, title, role) in enumerate(keys):
        metric = METRICS[key]
        chart = _chart(view, key, metric.low, metric.high, metric.tick, role, each, rows - 1)
        head = line((cut(title + _slow_gpu(sample, key), each), "dim"))
        for row, part in enumerate((head, *chart)):
            drawn[row] = (*drawn[row], *((("  ", "text"),) if number else ()), *fit(part, each))
    return drawn


def _slow_gpu(sample: HardwareSample, key: str) -> str:
    """The number of GPUs in the curve, and the one that is far behind the others."""
    known = [(value, gpu.index) for gpu in sample.gpus if (value := metric_values.of_gpu(gpu, key)) is not None]
    if len(known) < 2:
        return ""
    value, index = min(known)
    behind = key == "gpu" and value < median(value for value, _ in known) - _BEHIND
    return f" of {len(known)} GPUs" + (f", GPU {index} behind: {value:.0f} %" if behind else "")


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
    min_span: float = 0.0,
) -> list[Line]:
    now, zoom = view.now, ZOOMS[view.zoom]
    start, end = x_range(now.elapsed, zoom)
    curve = now.curves.get(key, Curve())

    def make() -> list[Line]:
        plot = Plot(
            curve=curve,
            role=role,
            low=low,
            high=high,
            start=start,
            end=end,
            marks=marks,
            label=label,
            min_span=min_span,
            joined_until=now.sparse_until,
            ascii=view.ascii,
        )
        return draw(plot, columns, rows)

    moving = view.live and view.caught_up and now.outcome is None
    time = beat(now.elapsed, end - start, columns) if moving else now.seq
    drawn_from = (start, end, time, moving, marks, low, high, role, min_span, now.sparse_until, view.ascii)
    return _HELD.lines((key, columns, rows), curve, drawn_from, make)


class ThroughputPanel(Panel):
    """Images per second over time."""

    TITLE = "Throughput"

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The throughput curve."""
        return (now.curves.get("images_per_second"),)

    def title(self, view: View) -> str:
        """The title with the time span."""
        return f"Throughput, {ZOOM_NAMES[view.zoom]}" if view.zoom else "Throughput"

    def note(self, view: View) -> str:
        """Mean throughput of the run."""
        totals = view.now.totals
        mean = totals.images / totals.step_seconds if totals.step_seconds > 0 else None
        return f"mean {fmt.rate(mean)} {view.now.rate_unit}" if mean is not None else ""

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw the chart."""
        return _chart(view, "images_per_second", 0, None, fmt.tick, "compute", columns, rows)


class LossPanel(Panel):
    """Training loss as a line, validation losses as marks."""

    TITLE = "Loss"

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """Both loss curves."""
        return (now.curves.get(_loss_key(now)), now.curves.get("val_loss"))

    def note(self, view: View) -> str:
        """The newest losses."""
        now = view.now
        if now.is_script and (name := _loss_key(now)) != "loss":
            name = name.removeprefix(script_values.CURVE)
            return f"logged {plain(name, 30)} {fmt.figure(now.scalars[name])}"
        val_loss = now.validations[-1].metrics.get("loss") if now.validations else None
        found = [f"train {fmt.figure(now.loss)}"] if now.loss is not None else []
        found += [f"◆ val {fmt.figure(val_loss)}"] if val_loss is not None else []
        return "  ".join(found)

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw the chart."""
        marks = _marks(view.now, "loss", "◆")
        return _chart(view, _loss_key(view.now), None, None, fmt.tick, "copy", columns, rows, marks)


class MetricPanel(Panel):
    """The metric that selects the best checkpoint, with its best value marked; of a script, the scalars it logs."""

    TITLE = "Validation"

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The best validation and the metric curve."""
        if now.is_script:
            return (now.scalars, now.curves.get(script_values.CURVE + script_values.main_scalar(now)))
        return (now.best, now.curves.get(f"val_{main_metric(now)}"))

    def title(self, view: View) -> str:
        """The name of the metric."""
        if view.now.is_script:
            name = plain(script_values.main_scalar(view.now), 40)
            return f"Logged {name}" if name else "Logged scalars"
        name = main_metric(view.now)
        return f"Validation {name}" if name else "Validation"

    def note(self, view: View) -> str:
        """The best value."""
        if view.now.is_script:
            name = script_values.main_scalar(view.now)
            return fmt.figure(view.now.scalars[name]) if name else ""
        best = view.now.best
        value = best.metrics.get(best.metric) if best else None
        if best is None or value is None:
            return ""
        return f"★ best {fmt.metric(best.metric, value)}"

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw the chart."""
        if view.now.is_script:
            return _draw_scalars(view, columns, rows)
        name = main_metric(view.now)
        if not name:
            first = "starts after the first epoch" if view.now.settings.get("val_split", "val") else "none"
            return [*[fit((), columns)] * (rows // 2), fit((((first).center(columns), "dim"),), columns)]
        show = fmt.share_tick if fmt.is_share(name) else fmt.tick
        marks = _marks(view.now, name, "◆")
        return _chart(view, f"val_{name}", None, None, show, "data", columns, rows, marks)


def _loss_key(now: Snapshot) -> str:
    return script_values.loss_curve(now) if now.is_script else "loss"


def _draw_scalars(view: View, columns: int, rows: int) -> list[Line]:
    """The chart of one logged scalar, and the newest value of each."""
    now = view.now
    if not now.scalars:
        text = "nothing logged so far" if columns < _LIBRARIES_CELLS else _LIBRARIES
        return [*[fit((), columns)] * (rows // 2), fit(((text.center(columns), "dim"),), columns)]
    name = script_values.main_scalar(now)
    below = _scalar_lines(now, columns, min(len(now.scalars), max(1, rows // 3)) if name else rows)
    above = rows - len(below)
    if not name or above < _TREND_ROWS:
        return _scalar_lines(now, columns, rows)
    return [*_chart(view, script_values.CURVE + name, None, None, fmt.tick, "data", columns, above), *below]


def _scalar_lines(now: Snapshot, columns: int, rows: int) -> list[Line]:
    """The newest value of each logged scalar, a row for each; the last row counts those that have none."""
    names = list(now.scalars)
    shown = names if len(names) <= rows else names[: max(0, rows - 1)]
    title = min(columns - 10, max((len(name) for name in shown), default=0))
    drawn = [fit(line((pad(name, title), "dim"), f"  {fmt.figure(now.scalars[name])}"), columns) for name in shown]
    if len(shown) < len(names) and rows > 0:
        drawn.append(fit(line((f"and {len(names) - len(shown)} more", "dim")), columns))
    return drawn


def main_metric(now: Snapshot) -> str:
    """The metric that selects the best checkpoint; empty before the first validation."""
    return now.validations[-1].metric if now.validations else ""


def _marks(now: Snapshot, name: str, sign: str) -> tuple[Mark, ...]:
    curve = now.curves.get(f"val_{name}", Curve())
    best = now.best.metrics.get(name) if now.best else None
    points = ((point.first, point.mean) for point in curve.recent)
    return tuple((x, y, "★" if y == best else sign, "warn" if y == best else "text") for x, y in points)
