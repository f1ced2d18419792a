"""The CPU and RAM panels, with charts if they fit."""

from __future__ import annotations

from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import GIB
from gputrain.engine.events import HardwareSample
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, bar, groups, line, pad, right
from gputrain.tui.render.theme import Role
from gputrain.tui.state import metric_values
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.widgets.panel import Panel, View
from gputrain.tui.widgets.panels.curves import trend
from gputrain.tui.widgets.panels.gpus import role

_BLOCKS = "▁▂▃▄▅▆▇█"
_STOLEN = 0.05
"""Steal time in cores below which it is not shown."""
NOTHING: list[Line] = [line(("no machine sample yet", "dim"))]


def meter(label: str, key: str, percent: float | None, value: str, columns: int) -> Line:
    """A labeled bar with its value on the right, colored by the level of the metric; no bar if too narrow."""
    shown: Role = role(key, percent)
    field = 13 if columns >= 36 else 10
    room = columns - len(label) - 4 - field
    if room < 3:
        return ((pad(label, columns - field), "dim"), (right(value, field), shown))
    drawn = bar(percent / 100 if percent is not None else None, room, "data" if shown == "bright" else shown)
    return ((f"{label} ▕", "dim"), *drawn, ("▏", "dim"), (right(value, field + 1), shown))


def cores_strip(cores: tuple[float, ...], columns: int) -> Line:
    """A block per core, as high as its use; if they do not fit, each block is the maximum of neighboring cores."""
    if not cores or columns < 8:
        return ()
    each = -(-len(cores) // columns)
    busiest = [max(cores[i : i + each]) for i in range(0, len(cores), each)]
    signs = [_BLOCKS[min(7, int(max(0.0, value) / 12.5))] for value in busiest]
    wide = min(3, columns // len(signs))
    return line((" ".join(sign * (wide - 1) for sign in signs) if wide > 1 else "".join(signs), "data"))


def draw_cpu(view: View, columns: int, rows: int) -> list[Line]:
    """Total CPU use, use per core, and use by the run and by others."""
    sample = view.now.hardware
    if sample is None:
        return NOTHING
    drawn = [meter("use", "cpu", sample.cpu_percent, fmt.percent(sample.cpu_percent), columns)]
    if sample.per_core:
        drawn.append((("cores ", "dim"), *cores_strip(sample.per_core, columns - 6)))
    drawn.append(_owners(view, sample, columns))
    drawn.append(_load(sample, columns))
    if sample.throttled_share:
        part = line((f"throttled {fmt.share(sample.throttled_share)}", "warn"))
        drawn.append(groups(columns, part, line(("of the cgroup's periods", "dim"))))
    if (sample.cpu_steal or 0) >= _STOLEN:
        drawn.append(line((f"stolen {fmt.rate(sample.cpu_steal)} cores", "warn")))
    return [*drawn[:rows], *trend(view, "cpu", columns, rows - len(drawn))]


def _owners(view: View, sample: HardwareSample, columns: int) -> Line:
    if not view.subject:
        return groups(columns, line(("busy ", "dim"), f"{fmt.rate(sample.foreign_cpu)} cores"))
    busy = sample.foreign_cpu is not None and sample.foreign_cpu > 0.25 * max(1.0, sample.usable_cores)
    return groups(
        columns,
        line((f"{plain(view.subject, 24)} ", "dim"), f"{fmt.rate(sample.run_cpu)} cores"),
        line(("others ", "dim"), (fmt.rate(sample.foreign_cpu), "warn" if busy else "text")),
    )


def _load(sample: HardwareSample, columns: int) -> Line:
    clock = f"{sample.cpu_frequency / 1000:.1f} GHz" if sample.cpu_frequency is not None else ""
    return groups(
        columns,
        line(("load ", "dim"), fmt.rate(sample.load_1m)),
        line((clock, "dim")) if clock else (),
        line((fmt.celsius(sample.cpu_temperature), "dim")) if sample.cpu_temperature is not None else (),
        line(("pressure ", "dim"), fmt.share(sample.psi_cpu)) if sample.psi_cpu is not None else (),
    )


class CpuPanel(Panel):
    """The cores available to the run."""

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The newest sample."""
        return (now.hardware,)

    def title(self, view: View) -> str:
        """The title with available and total cores."""
        sample = view.now.hardware
        if sample is None or not sample.usable_cores:
            return "CPU"
        usable = f"{sample.usable_cores:g}"
        of = f" of {sample.host_cores}" if sample.host_cores and sample.host_cores != sample.usable_cores else ""
        return f"CPU {usable}{of} {'core' if usable == '1' and not of else 'cores'}"

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw meter, cores, owners and chart."""
        return draw_cpu(view, columns, rows)


def draw_ram(view: View, columns: int, rows: int) -> list[Line]:
    """Used memory in total and by the run, page cache, shared memory and swap."""
    sample = view.now.hardware
    if sample is None:
        return NOTHING
    taken = None
    if sample.ram_total is not None and sample.ram_available is not None:
        taken = sample.ram_total - sample.ram_available
    percent = taken / sample.ram_total * 100 if taken is not None and sample.ram_total else None
    own = sample.run_pss if sample.run_pss is not None else sample.run_rss
    drawn = [
        meter("used", "ram", percent, fmt.of_size(taken, sample.ram_total), columns),
        groups(
            columns,
            line((f"{plain(view.subject, 24)} ", "dim"), fmt.size(own)) if view.subject else (),
            line(("cached ", "dim"), fmt.size(sample.ram_cached)),
        ),
        groups(
            columns,
            line(("shm ", "dim"), fmt.of_size(sample.shm_used, sample.shm_total)),
            line(("swap ", "dim"), (fmt.size(sample.swap_used), "warn" if (sample.swap_used or 0) > GIB else "text")),
        ),
    ]
    if sample.psi_memory:
        drawn.append(line(("pressure ", "dim"), (fmt.share(sample.psi_memory), "warn")))
    return [*drawn[:rows], *trend(view, "ram", columns, rows - len(drawn))]


class RamPanel(Panel):
    """The memory available to the run."""

    TITLE = "RAM"

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The newest sample."""
        return (now.hardware,)

    def note(self, view: View) -> str:
        """Used memory in percent."""
        value = metric_values.ram(view.now)
        return fmt.percent(value) if value is not None else ""

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw meter, owners and chart."""
        return draw_ram(view, columns, rows)
