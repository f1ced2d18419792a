"""The panels for small windows: the whole run in a few lines, and the machine in a few lines."""

from __future__ import annotations

from gputrain.tui.metrics.metric_lookup import METRICS
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, groups, line
from gputrain.tui.render.theme import Role
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.widgets.panel import Panel, View
from gputrain.tui.widgets.panels.gpus import absent, gpu_line, role
from gputrain.tui.widgets.panels.hints import LOOKING, hint_lines
from gputrain.tui.widgets.panels.pipeline import bottleneck
from gputrain.tui.widgets.panels.status_line import eta, progress_words


def machine_lines(view: View, columns: int, rows: int) -> list[Line]:
    """One line per GPU, and one for CPU, RAM and disk."""
    sample = view.now.hardware
    if sample is None:
        return [line(("no machine sample yet", "dim"))][:rows]
    drawn = [gpu_line(gpu, columns) for gpu in sample.gpus] or [line((absent(view.now), "text"))]
    if len(drawn) > rows - 1:
        hidden = len(drawn) - max(0, rows - 2)
        drawn = [*drawn[: max(0, rows - 2)], line((f"and {hidden} more GPUs", "dim"))]
    spans: list[tuple[str, Role]] = []
    for key, title in (("cpu", "CPU"), ("ram", "RAM"), ("disk_read", "read"), ("disk_write", "write")):
        metric = METRICS[key]
        value = metric.get(view.now) if metric.get else None
        spans += [(f"{title} ", "dim"), (f"{metric.show(value)}   ", role(key, value))]
    return [*drawn, tuple(spans)][:rows]


def draw_compact(view: View, columns: int, rows: int) -> list[Line]:
    """Progress, speed and bottleneck; the machine; the first hint."""
    now = view.now
    slow = bottleneck(now)
    speed = line(
        ("throughput ", "dim"),
        (f"{fmt.rate(now.images_per_second)} {now.rate_unit}", "bright"),
        ("   loss ", "dim"),
        fmt.figure(now.loss),
        ("   ", "text"),
        (f"bottleneck: {slow[1]}" if slow else "", "good" if slow and slow[0] == "compute" else "bad"),
    )
    hint: list[Line] = [line(("no hints" if now.judged or now.outcome else LOOKING, "dim"))]
    if now.hints:
        gpus = len(now.hardware.gpus) if now.hardware else 0
        hint = hint_lines(now.hints[0], columns, 3 if rows - gpus >= 8 else 2)
    machine = machine_lines(view, columns, rows - 2 - len(hint))
    left = eta(now)
    progress = groups(columns, line(progress_words(now)), line(f"ETA {fmt.duration(left)}") if left is not None else ())
    drawn = [progress, speed, *machine]
    gap = rows - len(drawn) - len(hint)
    if gap > 1:
        drawn.append(line(""))
    return [*drawn, *hint]


class CompactPanel(Panel, can_focus=False):
    """The whole run in one panel without a frame, for the smallest windows."""

    FRAME = False

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw the lines."""
        return draw_compact(view, columns, rows)


class MachinePanel(Panel):
    """GPUs, CPU, RAM and disk in a few lines."""

    TITLE = "Machine"
    DIGEST = True

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The newest sample and the model."""
        return (now.hardware, now.model)

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw the lines."""
        return machine_lines(view, columns, rows)
