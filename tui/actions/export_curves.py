"""A run's curves for other programs: as CSV, and as a picture if matplotlib is installed."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import write_atomic
from gputrain.tui.charts.history import Curve, pieces
from gputrain.tui.metrics.metric_table import METRICS
from gputrain.tui.render import format as fmt
from gputrain.tui.state.run_snapshot import Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("curve", "from_s", "to_s", "low", "mean", "high", "points")
"""Of the CSV; times in seconds of the run."""
PICTURES = (".png", ".svg", ".pdf")
_MODE = 0o644
"""What is exported is meant to be shown around."""
_LEFT_OUT = ("disk_read", "disk_write", "power", "vram", "temperature")
"""Not in the picture; the CSV has all."""


def curves_csv(now: Snapshot) -> str:
    """All curves of the run, a row for each stretch of at most a 512th of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for key, curve in sorted(now.curves.items()):
        for bucket in curve.whole:
            writer.writerow([key, round(bucket.first, 3), round(bucket.last, 3), *bucket[2:]])
    return text.getvalue()


def write_curves(now: Snapshot, path: Path) -> None:
    """Write the curves to `path`, as its ending says. Raises BadInput if that can't be done."""
    if path.suffix.lower() not in (".csv", *PICTURES):
        raise BadInput(f"{path}: the ending must be one of .csv, {', '.join(PICTURES)}")
    if not any(curve.whole for curve in now.curves.values()):
        raise BadInput(f"{path}: not written: the run has no figures yet")
    try:
        if path.suffix.lower() == ".csv":
            write_atomic(path, curves_csv(now).encode(), _MODE)
        else:
            write_atomic(path, picture(now, path.suffix.lower().removeprefix(".")), _MODE)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from None


def picture(now: Snapshot, form: str) -> bytes:
    """The curves over the run's time, below each other, as a file of `form` (png, svg, pdf). Raises BadInput."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BadInput("pictures need matplotlib: pip install 'gputrain-tui[plot]'; or export to .csv") from None
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
    """A curve as it is drawn."""

    name: str
    curve: Curve
    factor: float = 1.0
    """From the curve's values to those of the axis: shares are drawn in percent."""
    dots: bool = False
    """Each of its points was measured by itself and is marked."""
    best: float | None = None
    """The value that gets a star."""
    low: float | None = None
    """Where the axis begins; None: from the data."""


def _draw(axes: Axes, drawing: _Drawing, joined_until: float) -> None:
    minutes: list[float] = []
    ranges: list[tuple[float, float, float]] = []
    for piece in pieces(drawing.curve.whole, joined_until):
        # What is no number interrupts the line, as nothing was measured between two pieces.
        minutes += [(bucket.first + bucket.last) / 120 for bucket in piece] + [math.nan]
        ranges += [(bucket.low, bucket.mean, bucket.high) for bucket in piece] + [(math.nan,) * 3]
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
    """What is drawn together: losses; utilizations; each other curve alone."""
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
            title = f"{metric.title} [{metric.unit}]" if metric.unit else metric.title
            drawing = _Drawing(metric.title, curve, 100.0 if metric.show is fmt.share else 1.0, low=metric.low)
        else:
            title, drawing = _validation(now, key.removeprefix("val_"), curve)
        found.setdefault(title, []).append(drawing)
    return list(found.items())


def _validation(now: Snapshot, name: str, curve: Curve) -> tuple[str, _Drawing]:
    best = now.best.metrics.get(name) if now.best is not None and now.best.metric == name else None
    factor, unit = (100.0, " [%]") if fmt.is_share(name) else (1.0, "")
    return f"{name}{unit}", _Drawing("validation", curve, factor, dots=True, best=best)
