"""A run's curves for other programs: as CSV, and as a picture if matplotlib is installed."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from gputrain.engine.errors import BadInput
from gputrain.engine.files import write_atomic
from gputrain.tui.history import Curve
from gputrain.tui.metrics import METRICS
from gputrain.tui.snapshot import Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("curve", "from_s", "to_s", "low", "mean", "high", "points")
"""Of the CSV; times in seconds of the run."""
PICTURES = (".png", ".svg", ".pdf")
_MODE = 0o644
"""What is exported is meant to be shown around."""
_LEFT_OUT = ("disk_read", "disk_write", "power")
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
    for axes, (title, curves) in zip(
        figure.subplots(len(groups), sharex=True, squeeze=False)[:, 0], groups, strict=True
    ):
        for name, curve in curves:
            _draw(axes, name, curve)
        axes.set_ylabel(title)
        if len(curves) > 1:
            axes.legend(loc="best", fontsize="small")
    axes.set_xlabel("minutes")
    figure.suptitle(now.started.run_id if now.started else "")
    data = io.BytesIO()
    figure.savefig(data, format=form, dpi=120)
    return data.getvalue()


def _draw(axes: Axes, name: str, curve: Curve) -> None:
    minutes = [(bucket.first + bucket.last) / 120 for bucket in curve.whole]
    axes.plot(minutes, [bucket.mean for bucket in curve.whole], label=name, linewidth=1.2)
    axes.fill_between(
        minutes, [bucket.low for bucket in curve.whole], [bucket.high for bucket in curve.whole], alpha=0.2, linewidth=0
    )


def _groups(now: Snapshot) -> list[tuple[str, list[tuple[str, Curve]]]]:
    """What is drawn together: losses; utilizations; each other curve alone."""
    found: dict[str, list[tuple[str, Curve]]] = {}
    for key, curve in now.curves.items():
        if not curve.whole or key in _LEFT_OUT:
            continue
        name, title = key, key
        if key in ("loss", "val_loss"):
            name, title = ("training" if key == "loss" else "validation"), "loss"
        elif key in ("gpu", "cpu", "ram"):
            name, title = key.upper(), "use [%]"
        elif (metric := METRICS.get(key)) is not None:
            title = f"{metric.title} [{metric.unit}]" if metric.unit else metric.title
        elif key.startswith("val_"):
            title = key.removeprefix("val_")
        found.setdefault(title, []).append((name, curve))
    return list(found.items())
