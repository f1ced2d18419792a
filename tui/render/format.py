"""Formats numbers and short sentences, the same for screens and plain lines. None becomes `MISSING`, never 0."""

from __future__ import annotations

import math
import time

from gputrain.engine.common import units
from gputrain.engine.events import ModelReady
from gputrain.engine.slurm.queue_reason import QUEUED

MISSING = "–"


def whole(value: float | None) -> str:
    """A count with thousands separators: ``12 204``."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{round(value):,}".replace(",", " ")


def rate(value: float | None) -> str:
    """A rate with about three digits: ``0.42``, ``3.7``, ``84.1``, ``1 184``."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value >= 99.95:
        return whole(value)
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.1f}" if value >= 1 or value == 0 else f"{value:.2f}"


def byte_rate(value: float | None) -> str:
    """Bytes per second in decimal units, as for disks and links: ``212 MB/s``, ``1.1 GB/s``."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value >= 1e9:
        return f"{value / 1e9:.1f} GB/s"
    return f"{value / 1e6:.1f} MB/s" if value < 9.95e6 else f"{value / 1e6:.0f} MB/s"


def size(value: float | None) -> str:
    """Bytes of memory or of a file in binary units: ``1.4 GiB``, ``147 MiB``."""
    if value is None:
        return MISSING
    return units.size(value) if value else "0 MiB"


def of_size(used: float | None, total: float | None) -> str:
    """``7.4/24 GiB``, both in the unit of the total."""
    if used is None or total is None or total <= 0:
        return size(used)
    unit, name = (units.GIB, "GiB") if total >= units.GIB else (units.MIB, "MiB")
    return f"{_short(used / unit)}/{_short(total / unit)} {name}"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 and not value.is_integer() else f"{value:.0f}"


def share(value: float | None) -> str:
    """A share in 0…1 as ``41 %``."""
    return MISSING if value is None else f"{value * 100:.0f} %"


def percent(value: float | None) -> str:
    """A percentage in 0…100 as ``41 %``."""
    return MISSING if value is None else f"{value:.0f} %"


def duration(seconds: float | None) -> str:
    """``2 h 14 min``, ``3 min 20 s``, ``8 s``."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    return units.duration(max(0.0, seconds))


def figure(value: float | None) -> str:
    """A loss or a metric to four significant digits: ``0.6931``, ``2.303``, ``1.2e-05``."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return str(value)
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2g}"
    digits = 4 if abs(value) < 1 else 3 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, digits)}f}"


def end(outcome: str, reason: str) -> str:
    """Outcome and reason of a run, without repeating a word: ``stopped on request``, ``failed: out of memory``."""
    return reason if reason.startswith(f"{outcome} ") else f"{outcome}: {reason}"


def in_classes(count: int) -> str:
    """`` in 10 classes``; empty for data without classes."""
    return f" in {whole(count)} classes" if count else ""


def metric(name: str, value: float | None) -> str:
    """A validation metric: shares such as accuracy in percent, others as plain numbers."""
    if value is not None and is_share(name):
        return f"{value * 100:.1f} %"
    return figure(value)


def is_share(name: str) -> bool:
    """Whether the metric `name` is a share in 0…1, shown in percent."""
    return "accuracy" in name or name in ("auc", "f1")


def higher_is_better(name: str) -> bool:
    """Whether a higher value of the metric `name` is better: true for shares; all others are errors."""
    return is_share(name)


def tick(value: float | None) -> str:
    """A tick of an axis: ``0``, ``0.25``, ``1 500``."""
    if value is None:
        return MISSING
    return whole(value) if abs(value) >= 1000 else f"{value:.4g}"


def time_tick(seconds: float) -> str:
    """A tick of an axis of time: ``0``, ``30 s``, ``2 h``, ``1 h 30 min``."""
    if not seconds:
        return "0"
    whole, name, *rest = duration(seconds).split()
    return " ".join((whole, name, *(rest if rest and rest[0] != "0" else ())))


def byte_tick(value: float | None) -> str:
    """A tick of an axis of bytes per second: ``0``, ``500 kB/s``, ``20 MB/s``, ``1.5 GB/s``."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    unit, name = next(((u, n) for u, n in ((1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")) if value >= u), (1, "B/s"))
    return f"{value / unit:.3g} {name}"


def share_tick(value: float | None) -> str:
    """A tick of an axis of shares: ``80 %``, ``67.5 %``."""
    return MISSING if value is None else f"{value * 100:.4g} %"


def watts(value: float | None) -> str:
    """``212 W``."""
    return MISSING if value is None else f"{value:.0f} W"


def celsius(value: float | None) -> str:
    """``71 °C``."""
    return MISSING if value is None else f"{value:.0f} °C"


def milliseconds(seconds: float | None) -> str:
    """``0.42 ms``, ``3.7 ms``, ``1 184 ms``."""
    return MISSING if seconds is None else f"{rate(seconds * 1000)} ms"


def energy(joules: float | None) -> str:
    """``1.24 kWh``; less than 0.01 kWh in ``Wh``."""
    if joules is None:
        return MISSING
    hours = joules / 3600
    return f"{hours / 1000:.2f} kWh" if hours >= 10 else f"{hours:.1f} Wh"


def clock(wall: float) -> str:
    """The local time of day of `wall` (seconds since 1970); dashes if it cannot be represented."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(wall))
    except (OverflowError, OSError, ValueError):
        return "--:--:--"


def run_continues(run_id: str) -> str:
    """The message of a command that leaves a live run."""
    return f"run {run_id} continues; watch it again with: gputrain-tui tail {run_id}"


def no_events(trouble: str) -> str:
    """Why a run gives no events for now: it is queued, or the connection is broken."""
    return trouble if trouble.startswith(QUEUED) else f"no connection, trying again: {trouble}"


def supervisor_died(run_id: str) -> str:
    """The message for a run that stopped without recording an end."""
    return f"run {run_id}: its supervisor process died without recording an end (killed, or the machine restarted)"


def devices(model: ModelReady) -> str:
    """The devices of a model: ``NVIDIA A100``, ``4 × NVIDIA A100``, ``AMD EPYC (2 ranks)``."""
    name = model.device_name or model.device
    if model.ranks == 1:
        return name
    return f"{model.ranks} × {name}" if model.device.startswith("cuda") else f"{name} ({model.ranks} ranks)"
