"""The GPUs of other machines of a run: one line for each machine, or one for each GPU where there is room. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import GpuSample, HardwareSample, NodeSample
from gputrain.tui.metrics import metric_lookup
from gputrain.tui.metrics.gpu_state import alarms, temperature_level
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, Span, bar, cut, fit, line, pad, right, width
from gputrain.tui.render.theme import Role
from gputrain.tui.state.run_snapshot import Snapshot

GPU_CELLS = 25
"""Width of `folded`."""
_NAME = 14


def with_gpus(now: Snapshot) -> list[NodeSample]:
    """The newest samples of the other machines that have GPUs and ranks, in the order of their names."""
    return [one for host, one in sorted(now.node_samples.items()) if one.gpus and host not in now.ranks.lost]


def folded(sample: HardwareSample | NodeSample | None) -> Span:
    """All GPUs of a machine in a few words: their number, utilization, memory, and how many have a problem."""
    if sample is None:
        return "not sampled", "dim"
    if not sample.gpus:
        return "no GPU", "dim"
    text = f"{_count(sample.gpus)} {_range(sample.gpus)}"
    memory = _fullest(sample.gpus)
    wrong, role = _problems(sample.gpus)
    if wrong:
        return f"{text} {wrong}", role
    return (f"{text} VRAM {memory:.0f} %" if memory is not None else text), "text"


def _count(gpus: Sequence[GpuSample]) -> str:
    return f"{len(gpus)} {'GPU' if len(gpus) == 1 else 'GPUs'}"


def _range(gpus: Sequence[GpuSample]) -> str:
    known = [one.utilization for one in gpus if one.utilization is not None]
    if not known:
        return fmt.MISSING
    least, most = f"{min(known):.0f}", f"{max(known):.0f}"
    return f"{most} %" if least == most else f"{least}–{most} %"


def _fullest(gpus: Sequence[GpuSample]) -> float | None:
    """Percent of the memory in use on the GPU with most."""
    full = [100 * one.memory_used / one.memory_total for one in gpus if one.memory_used and one.memory_total]
    return max(full, default=None)


def _problems(gpus: Sequence[GpuSample]) -> tuple[str, Role]:
    """The worst problem and on how many GPUs; empty where there is none."""
    lost = sum(bool(one.error) for one in gpus)
    if lost:
        return f"{lost} LOST", "bad"
    found = [alarm for one in gpus for alarm in alarms(one)[:1]]
    if worst := next((alarm for alarm in found if alarm.level == "bad"), None):
        return worst.short, "bad"
    slowed = sum(metric_lookup.throttle_level(one.throttle) != "plain" for one in gpus if one.throttle)
    if slowed:
        return f"{slowed} SLOWED", "warn"
    return (found[0].short, "warn") if found else ("", "text")


def node_line(host: str, gpus: Sequence[GpuSample], columns: int) -> Line:
    """The GPUs of one machine in one line: mean utilization and largest memory as bars, all power, the hottest one."""
    known = [one.utilization for one in gpus if one.utilization is not None]
    mean = sum(known) / len(known) if known else None
    memory = _fullest(gpus)
    watts = sum(one.power for one in gpus if one.power is not None)
    warm = [one for one in gpus if one.temperature is not None]
    hottest = max(warm, key=lambda one: one.temperature or 0, default=None)
    wrong, wrong_role = _problems(gpus)
    start: Line = ((pad(cut(plain(host, 40), _NAME), _NAME) + " ", "title"), (pad(_count(gpus), 8), "text"))
    tail: list[Span] = []
    if columns >= 60:
        tail.append((f"  {right(fmt.watts(watts) if watts else '', 7)}", "text"))
    if hottest is not None and columns >= 48:
        level = temperature_level(hottest)
        tail.append((f" {right(fmt.celsius(hottest.temperature), 6)}", "bright" if level == "plain" else level))
    if columns >= 84 or wrong:
        tail.append((f" {pad(wrong, 10)}", wrong_role))
    figures: Line = ((f" {right(_range(gpus), 9)} ", "bright"),)
    filled: Line = ((f" {right(fmt.percent(memory), 5)}", "bright"),)
    room = max(0, columns - width((*start, *figures, *filled, *tail)))
    first = room // 2
    drawn: Line = (
        *start,
        *bar(mean / 100 if mean is not None else None, first, "compute"),
        *figures,
        *bar(memory / 100 if memory is not None else None, room - first, "data"),
        *filled,
        *tail,
    )
    return fit(drawn, columns)


def node_gpu_rows(machines: Sequence[tuple[str, Sequence[GpuSample]]], columns: int, rows: int) -> list[Line]:
    """One line for each machine (name, GPUs) in at most `rows` rows; the last one counts those without one."""
    if rows < 1:
        return []
    shown = machines if len(machines) <= rows else machines[: rows - 1]
    drawn = [node_line(host, gpus, columns) for host, gpus in shown]
    if left := len(machines) - len(shown):
        drawn.append(line((cut(f"and {left} more nodes: f shows all", columns), "dim")))
    return drawn
