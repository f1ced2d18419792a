"""Exports the curves of a run as CSV, or as an image if matplotlib is installed."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import write_output
from gputrain.engine.common.sanitize import plain
from gputrain.tui.charts.value_history import Curve, segments
from gputrain.tui.metrics.metric_lookup import METRICS
from gputrain.tui.render import format as fmt
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.state.script_values import CURVE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("curve", "from_s", "to_s", "low", "mean", "high", "points")
"""Columns of the CSV; times are seconds of run time."""
PICTURES = (".png", ".svg", ".pdf")
_LEFT_OUT = ("disk_read", "disk_write", "power", "vram", "temperature")
"""Curves that the image leaves out; the CSV has all."""


def curves_csv(now: Snapshot) -> str:
    """All curves as CSV, with at most 512 rows per curve."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for key, curve in sorted((_csv_name(key, now), curve) for key, curve in now.curves.items()):
        for bucket in curve.whole:
            writer.writerow([key, round(bucket.first, 3), round(bucket.last, 3), *bucket[2:]])
    return text.getvalue()


def _csv_name(key: str, now: Snapshot) -> str:
    """The name of a curve in the CSV: ``samples_per_second`` where samples are counted."""
    return f"{now.unit}_per_second" if key == "images_per_second" else key


def write_curves(now: Snapshot, path: Path) -> None:
    """Write the curves to `path` in the format of its suffix. Raises BadInput if the file cannot be written."""
    if path.suffix.lower() not in (".csv", *PICTURES):
        raise BadInput(f"{path}: the suffix must be one of .csv, {', '.join(PICTURES)}")
    if not any(curve.whole for curve in now.curves.values()):
        raise BadInput(f"{path}: not written: the run has no curves yet")
    suffix = path.suffix.lower()
    write_output(path, curves_csv(now).encode() if suffix == ".csv" else picture(now, suffix.removeprefix(".")))


def picture(now: Snapshot, form: str) -> bytes:
    """An image of the curves over run time, one axis per unit; `form` is png, svg or pdf. Raises BadInput."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BadInput("images need matplotlib: pip install 'gputrain-tui[plot]'; or export to .csv") from None
    groups = _groups(now)
    figure = Figure(figsize=(10, 1 + 2.2 * len(groups)), layout="constrained")
    places = figure.subplots(len(groups), sharex=True, squeeze=False)[:, 0]
    for axes, (title, drawings) in zip(places, groups, strict=True):
        for drawing in drawings:
            _draw(axes, drawing, now.sparse_until)
        axes.set_ylabel(title)
        axes.set_ylim(bottom=drawings[0].low)
        if len(drawings) > 1 or any(drawing.best is not None for drawing in drawings):
            axes.legend(loc="best", fontsize="small")
    axes.set_xlabel("minutes")
    figure.suptitle(now.started.run_id if now.started else "")
    data = io.BytesIO()
    figure.savefig(data, format=form, dpi=120)
    return data.getvalue()


class _Drawing(NamedTuple):
    """A curve and how to draw it."""

    name: str
    curve: Curve
    factor: float = 1.0
    """Factor from the values to the axis: 100 for shares, which are drawn in percent."""
    dots: bool = False
    """Mark each point: it is one measurement."""
    best: float | None = None
    """The value to mark with a star."""
    low: float | None = None
    """Lower end of the axis; None: from the data."""


def _draw(axes: Axes, drawing: _Drawing, joined_until: float) -> None:
    minutes: list[float] = []
    ranges: list[tuple[float, float, float]] = []
    for segment in segments(drawing.curve.whole, joined_until):
        # NaN interrupts the line between two segments.
        minutes += [(bucket.first + bucket.last) / 120 for bucket in segment] + [math.nan]
        ranges += [(bucket.low, bucket.mean, bucket.high) for bucket in segment] + [(math.nan,) * 3]
    low, mean, high = ([value * drawing.factor for value in values] for values in zip(*ranges, strict=True))
    marker = "o" if drawing.dots else None
    (line,) = axes.plot(minutes, mean, label=drawing.name, linewidth=1.2, marker=marker, markersize=3)
    axes.fill_between(minutes, low, high, alpha=0.2, linewidth=0)
    if drawing.best is not None:
        place = next((at for at, (_, value, _) in zip(minutes, ranges, strict=True) if value == drawing.best), None)
        if place is not None:
            best = drawing.best * drawing.factor
            axes.plot([place], [best], "*", color=line.get_color(), markersize=11, label=f"best {best:.4g}")


def _groups(now: Snapshot) -> list[tuple[str, list[_Drawing]]]:
    """Curves by axis: losses share one, utilizations share one, each other curve has its own."""
    found: dict[str, list[_Drawing]] = {}
    for key, curve in now.curves.items():
        if not curve.whole or key in _LEFT_OUT:
            continue
        if key in ("gpu", "cpu", "ram"):
            title, drawing = "use [%]", _Drawing(key.upper(), curve, low=0)
        elif key.startswith("gpu"):
            title, drawing = "use of each GPU [%]", _Drawing(key.removeprefix("gpu"), curve, low=0)
        elif key == "loss":
            title, drawing = "loss", _Drawing("training", curve)
        elif (metric := METRICS.get(key)) is not None:
            unit = now.rate_unit if key == "images_per_second" else metric.unit
            title = f"{metric.title} [{unit}]" if unit else metric.title
            drawing = _Drawing(metric.title, curve, 100.0 if metric.show is fmt.share else 1.0, low=metric.low)
        elif key.startswith(CURVE):
            title = plain(key.removeprefix(CURVE), 60)
            drawing = _Drawing("logged", curve, dots=len(curve.whole) == 1)
        else:
            title, drawing = _validation(now, key.removeprefix("val_"), curve)
        found.setdefault(title, []).append(drawing)
    return list(found.items())


def _validation(now: Snapshot, name: str, curve: Curve) -> tuple[str, _Drawing]:
    best = now.best.metrics.get(name) if now.best is not None and now.best.metric == name else None
    factor, unit = (100.0, " [%]") if fmt.is_share(name) else (1.0, "")
    return f"{name}{unit}", _Drawing("validation", curve, factor, dots=True, best=best)
