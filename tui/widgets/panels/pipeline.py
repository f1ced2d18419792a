"""The data pipeline panel: disk or network, workers, queue, copy, compute, with the bottleneck marked."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from gputrain.tui.metrics import metric_lookup
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, Span, bar, fit, line, right, stacked, width
from gputrain.tui.render.theme import Role
from gputrain.tui.state import metric_values
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.widgets.panel import Panel, View

StageName = Literal["network", "disk", "workers", "queue", "copy", "compute", "other"]
_UNKNOWN = "unknown"
_WAIT = 0.10
_READS = 0.5
_FILE_BYTES = 512
"""Bytes read for a sample from which it counts as read from a file."""


class Stage(Struct, frozen=True):
    """One stage with its values, most important first."""

    name: StageName
    title: str
    figure: str
    detail: str = ""
    fill: float | None = None


def bottleneck(now: Snapshot) -> tuple[StageName, str] | None:
    """The stage that the others wait for, and its name as text; None before the first steps.

    Derived from the shares of the step time, with the same thresholds as the hints.
    """
    shares = now.shares
    if shares is None:
        return None
    rest = max(shares.copy or 0.0, shares.other, shares.exchange or 0.0)
    if shares.data_wait >= _WAIT and shares.data_wait >= rest:
        if now.is_script and now.loader is not None and now.loader.kind == "inline":
            return "workers", "no workers"
        if _downloads(now):
            return "network", "network"
        return ("disk", "disk") if _reads(now) else ("workers", "workers")
    if (shares.copy or 0.0) >= max(_WAIT, shares.other, shares.exchange or 0.0):
        return "copy", "copy to the GPU"
    if (shares.exchange or 0.0) >= max(_WAIT, shares.other):
        return "other", "gradient exchange between ranks"
    if shares.other >= _WAIT:
        return "other", "host, launching kernels"
    return "compute", "none, compute-bound"


def _reads(now: Snapshot) -> bool:
    """Whether the workers mostly wait for files."""
    loader = now.loader
    if loader is None or loader.read_share is None or loader.read_share < _READS:
        return False
    # Of a script all waiting is counted, whatever for: without bytes it is not for files.
    return not now.is_script or (loader.bytes_read or 0) >= _FILE_BYTES * max(1, loader.samples)


def _downloads(now: Snapshot) -> bool:
    """Whether the workers mostly wait for remote shards."""
    share = now.loader.download_share if now.loader is not None else None
    return share is not None and share >= _READS


def stages(now: Snapshot) -> list[Stage]:
    """The stages of this run; on the CPU there is no copy stage."""
    found = [_network(now) or _disk(now), _workers(now), _queue(now)]
    if not _on_cpu(now):
        found.append(_copy(now))
    return [*found, _compute(now)]


def _on_cpu(now: Snapshot) -> bool:
    if now.script_model is not None:
        return now.script_model.device == "cpu"
    if now.model is not None:
        return now.model.device == "cpu"
    return now.started is not None and not now.started.gpus


def _network(now: Snapshot) -> Stage | None:
    """The stage of remote shards; None for local data, and while all that is needed lies in the local cache."""
    loader = now.loader
    if loader is None or loader.downloaded is None or loader.bytes_read is None or loader.seconds <= 0:
        return None
    if not loader.downloaded and not _downloads(now):
        return None
    came, files = loader.downloaded / loader.seconds, loader.bytes_read / loader.seconds
    return Stage("network", "network", fmt.byte_rate(came), f"files {fmt.byte_rate(files)}")


def _disk(now: Snapshot) -> Stage:
    loader, disk = now.loader, now.hardware.disk if now.hardware else None
    files = from_disk = None
    if loader is not None and loader.seconds > 0:
        files = loader.bytes_read / loader.seconds if loader.bytes_read is not None else None
        from_disk = loader.disk_bytes / loader.seconds if loader.disk_bytes is not None else None
    if from_disk is None and disk is not None:
        from_disk = disk.device_read_rate if disk.device_read_rate is not None else disk.read_rate
    return Stage("disk", "disk", fmt.byte_rate(from_disk), f"files {fmt.byte_rate(files)}")


def _workers(now: Snapshot) -> Stage:
    loader = now.loader
    count = loader.workers if loader else now.settings.get("num_workers")
    if loader is not None and loader.kind == "inline":
        count = 0
    title = "no workers" if count == 0 else f"{count} workers" if count != 1 else "1 worker"
    if now.is_script and loader is None:
        return Stage("workers", "workers", *_of_script(now, "no sample yet"))
    if loader is None:
        return Stage("workers", title if count is not None else "workers", fmt.MISSING)
    cached = (
        f"cache {fmt.share(loader.cache_hits / loader.samples)}"
        if loader.cache_hits is not None and loader.samples
        else f"cpu {fmt.share(loader.cpu_ratio)}"
    )
    return Stage("workers", title, f"busy {fmt.share(loader.busy)}", cached)


def _queue(now: Snapshot) -> Stage:
    steps = now.steps
    if now.is_script:
        return Stage("queue", "queue", *_of_script(now, "not counted"))
    if steps is None or steps.queue_depth is None or not steps.queue_capacity:
        return Stage("queue", "queue", fmt.MISSING)
    depth, capacity = f"{steps.queue_depth:.0f}", f"{steps.queue_capacity}"
    return Stage("queue", "queue", f"{right(depth, len(capacity))}/{capacity}", "batches", now.queue_fill)


def _of_script(now: Snapshot, otherwise: str) -> tuple[str, str]:
    """What is shown where a script of the user's own tells nothing, and why."""
    if now.steps is None:
        return fmt.MISSING, ""
    if now.loader_found is None:
        return _UNKNOWN, "no DataLoader"
    if now.loader_found.num_workers == 0:
        return "none", "no workers"
    return _UNKNOWN, otherwise


def _copy(now: Snapshot) -> Stage:
    steps, shares = now.steps, now.shares
    if now.is_script and steps is not None:
        return Stage("copy", "copy", _UNKNOWN, "not measured")
    speed = None
    if steps is not None and steps.bytes_copied is not None and steps.window_seconds > 0:
        speed = steps.bytes_copied / steps.window_seconds
    return Stage("copy", "copy", fmt.byte_rate(speed), f"{fmt.share(shares.copy if shares else None)} of step")


def _compute(now: Snapshot) -> Stage:
    share = f"{fmt.share(now.shares.compute if now.shares else None)} of step"
    if now.model is None and now.script_model is None:
        return Stage("compute", "compute", fmt.MISSING)
    if now.is_script and now.shares is None and now.steps is not None:
        share = _UNKNOWN
    if _on_cpu(now):
        return Stage("compute", "CPU compute", share, now.model.precision if now.model else "")
    useful = metric_values.mfu(now)
    detail = share if useful is None else f"{share}, MFU {fmt.share(useful)}"
    return Stage("compute", "GPU compute", f"GPU {fmt.percent(metric_values.gpu(now))}", detail)


def draw_pipeline(now: Snapshot, columns: int, rows: int) -> list[Line]:
    """The pipeline in three rows, or in one line if there is less space; below it the step time."""
    found = stages(now)
    slow = bottleneck(now)
    if rows >= 4 and columns >= 76:
        return [*_picture(found, slow, columns), _step_time(now, columns)]
    return [_one_line(found, slow, columns), _step_time(now, columns)][:rows]


def _picture(found: list[Stage], slow: tuple[StageName, str] | None, columns: int) -> list[Line]:
    gap = 5 if columns < 110 else 7
    each = (columns - gap * (len(found) - 1)) // len(found)
    titles: list[Span] = []
    figures: list[Span] = []
    details: list[Span] = []
    for number, stage in enumerate(found):
        marked = slow is not None and slow[0] == stage.name and stage.name != "compute"
        mark: Role = "bad" if marked else "bright"
        titles += fit(line((stage.title, "bad" if marked else "title")), each)
        if stage.fill is not None:
            drawn = bar(stage.fill, min(12, each - len(stage.figure) - 5), "data")
            row: Line = (("▕", "frame"), *drawn, ("▏ ", "frame"), (stage.figure, mark))
            figures += fit(row, each)
        else:
            figures += fit(line((stage.figure, mark)), each)
        details += fit(line(("▲ bottleneck", "bad") if marked else (_whole(stage.detail, each), "dim")), each)
        if number < len(found) - 1:
            titles.append((" " * gap, "text"))
            figures.append(("─" * (gap - 3) + "▶  ", "dim"))
            details.append((" " * gap, "text"))
    return [tuple(titles), tuple(figures), tuple(details)]


def _whole(detail: str, columns: int) -> str:
    """`detail` without its last parts that do not fit."""
    while len(detail) > columns and ", " in detail:
        detail = detail.rpartition(", ")[0]
    return detail


def _one_line(found: list[Stage], slow: tuple[StageName, str] | None, columns: int) -> Line:
    whole = _joined(found, slow, columns, "")
    return whole if width(whole) <= columns else _joined(found, slow, columns, " of step")


def _joined(found: list[Stage], slow: tuple[StageName, str] | None, columns: int, without: str) -> Line:
    """The stages side by side, their figures `without` this ending."""
    spans: list[Span] = []
    for number, stage in enumerate(found):
        if number:
            spans.append((" ──▶ " if columns >= 100 else " ▶ ", "dim"))
        marked = slow is not None and slow[0] == stage.name and stage.name != "compute"
        if stage.title != "GPU compute":
            spans.append((f"{stage.title} ", "title"))
        spans.append((stage.figure.removesuffix(without), "bad" if marked else "bright"))
    return tuple(spans)


def _step_time(now: Snapshot, columns: int) -> Line:
    """The shares of the step time, as a bar and as text."""
    shares = now.shares
    unknown = ""
    if _wait_unknown(now):
        why = "reads no DataLoader" if now.loader_found is None else "does not read its DataLoader itself"
        unknown = f"the script {why}, so what it waits for is unknown"
    if shares is None:
        return line((f"step time: {unknown or 'no steps yet'}", "dim"))
    parts: list[tuple[str, float | None, str, Role]] = [
        ("data wait", shares.data_wait, "▒", _role("data_wait", shares.data_wait, "data")),
        ("copy", shares.copy, "▓", _role("copy", shares.copy, "copy")),
        ("compute", shares.compute, "█", "compute"),
        ("ranks", shares.exchange, "▚", _role("exchange", shares.exchange, "copy")),
        ("other", shares.other, "░", _role("other", shares.other, "dim")),
    ]
    named: list[Span] = []
    for title, share, sign, role in parts:
        if share is not None:
            named += [(f"  {sign} ", role), (f"{title} ", "dim"), (fmt.share(share), "text")]
    room = columns - width(named) - 12
    if room < 6:
        return ((f"{parts[0][2]} ", parts[0][3]), *named[1:])
    drawn = stacked([(share, sign, role) for _, share, sign, role in parts if share is not None], min(room, 60))
    return (("step time ▕", "dim"), *drawn, ("▏", "dim"), *named)


def _wait_unknown(now: Snapshot) -> bool:
    return now.steps is not None and now.steps.wait_unknown


def _role(key: str, share: float | None, usual: Role) -> Role:
    level = metric_lookup.level(key, share)
    return level if level in ("warn", "bad") else usual


class PipelinePanel(Panel):
    """The stages of the data pipeline, and the step time."""

    TITLE = "Pipeline"

    def note(self, view: View) -> str:
        """The bottleneck."""
        slow = bottleneck(view.now)
        return f"bottleneck: {slow[1]}" if slow else ""

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw the pipeline."""
        return draw_pipeline(view.now, columns, rows)
