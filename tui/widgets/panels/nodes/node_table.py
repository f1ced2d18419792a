"""The table of nodes: step times of their ranks, CPU, RAM, disks, network and GPUs; lost nodes first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import HardwareSample, NodeSample
from gputrain.tui.metrics import metric_lookup
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, Span, cut, line, pad, right
from gputrain.tui.render.theme import Role
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.state.slow_ranks import NodeTimes, SlowNode, sample_of
from gputrain.tui.widgets.panels.nodes.node_gpus import GPU_CELLS, folded

_NAME = 18
"""Cells of a node's name."""
AnySample = HardwareSample | NodeSample | None


class _Column(Struct, frozen=True):
    """A column of the table."""

    title: str
    cells: int
    text: Callable[[NodeTimes, AnySample], Span]


def _of(key: str, value: float | None, text: str) -> Span:
    """A figure with the role of its level."""
    level = metric_lookup.level(key, value)
    role: Role = "text" if level == "plain" else level
    return text, role


def _share(part: float, times: NodeTimes) -> Span:
    return (fmt.share(part / times.step) if times.step else fmt.MISSING), "text"


def _ram(sample: AnySample) -> float | None:
    """Percent in use."""
    if sample is None or not sample.ram_total or sample.ram_available is None:
        return None
    return 100 * (1 - sample.ram_available / sample.ram_total)


def _disk(sample: AnySample) -> tuple[float | None, float | None, float | None]:
    """Bytes read and written per second, and the busy share of the data's disk."""
    if isinstance(sample, NodeSample):
        return sample.disk_read, sample.disk_write, sample.disk_busy
    disk = sample.disk if sample is not None else None
    return (disk.read_rate, disk.write_rate, disk.device_busy) if disk is not None else (None, None, None)


def _cpu(_times: NodeTimes, sample: AnySample) -> Span:
    value = sample.cpu_percent if sample is not None else None
    return _of("cpu", value, fmt.percent(value))


def _both(into: float | None, out: float | None) -> str:
    """Two rates in MB/s."""
    return f"{_mb(into)}/{_mb(out)}"


def _mb(value: float | None) -> str:
    if value is None:
        return fmt.MISSING
    return f"{value / 1e6:.1f}" if value < 99.5e6 else f"{value / 1e6:.0f}"


def _traffic(_times: NodeTimes, sample: AnySample) -> Span:
    return (_both(sample.net_rx, sample.net_tx) if sample is not None else fmt.MISSING), "text"


def _busy(_times: NodeTimes, sample: AnySample) -> Span:
    value = _disk(sample)[2]
    return _of("device_busy", value, fmt.share(value))


_RANKS = _Column("ranks", 5, lambda times, _: (str(len(times.ranks)), "text"))
_OWN = _Column("own time", 8, lambda times, _: (fmt.milliseconds(times.own), "bright"))
_WAIT = _Column("data wait", 9, lambda times, _: _share(times.data_wait, times))
_EXCHANGE = _Column("exchange", 8, lambda times, _: _share(times.exchange, times))
_CPU = _Column("CPU", 5, _cpu)
_RAM = _Column("RAM", 5, lambda _, sample: _of("ram", _ram(sample), fmt.percent(_ram(sample))))
_DISK = _Column("disk R/W MB/s", 13, lambda _, sample: (_both(*_disk(sample)[:2]), "text"))
_BUSY = _Column("busy", 5, _busy)
_NETWORK = _Column("net ↓/↑ MB/s", 12, _traffic)
_GPUS = _Column("GPUs", GPU_CELLS, lambda _, sample: folded(sample))
_ORDER = (_RANKS, _OWN, _WAIT, _EXCHANGE, _CPU, _RAM, _DISK, _BUSY, _NETWORK, _GPUS)
_IMPORTANCE = (_RANKS, _OWN, _GPUS, _WAIT, _EXCHANGE, _CPU, _NETWORK, _DISK, _RAM, _BUSY)
"""Columns for which there is no room are left out, the last of these first."""


def node_lines(now: Snapshot, nodes: Sequence[NodeTimes], late: SlowNode | None, columns: int, rows: int) -> list[Line]:
    """A header, the lost nodes, and a line for each node, the slowest first; the last one counts those without one."""
    lost = _lost_lines(now, columns)
    if len(nodes) + len(lost) < 2 or rows < 3:
        return []
    samples = {one.host: sample_of(now, one.host) for one in nodes}
    chosen = _chosen(columns, gpus=any(sample is not None and sample.gpus for sample in samples.values()))
    lost = lost[: max(1, rows - 3)]
    ordered = sorted(nodes, key=lambda one: -one.own)
    room = rows - 1 - len(lost)
    shown = ordered if len(ordered) <= room else ordered[: max(0, room - 1)]
    header = pad("node", _NAME + 1) + "".join(f"  {_aligned(one.title, one)}" for one in chosen)
    found = [line((cut(header.rstrip(), columns), "dim")), *lost]
    for one in shown:
        marked = late is not None and one.host == late.host
        head: Line = (
            (pad(cut(plain(one.host, 40), _NAME), _NAME), "bad" if marked else "bright"),
            ("▶" if marked else " ", "bad"),
        )
        cells = [one_column.text(one, samples[one.host]) for one_column in chosen]
        found.append(
            (*head, *((f"  {_aligned(text, of)}", role) for (text, role), of in zip(cells, chosen, strict=True)))
        )
    left = len(ordered) - len(shown)
    return [*found, line((f"and {left} more nodes, all faster", "dim"))] if left else found


def _aligned(text: str, column: _Column) -> str:
    return cut(text, column.cells) if column is _GPUS else right(text, column.cells)


def _chosen(columns: int, *, gpus: bool) -> list[_Column]:
    """The columns for which there is room, in their order; `gpus`: whether a node has one."""
    room, found = columns - _NAME - 1, set()
    for one in _IMPORTANCE:
        if one is _GPUS and not gpus:
            continue
        if room < one.cells + 2:
            break
        room -= one.cells + 2
        found.add(one.title)
    return [one for one in _ORDER if one.title in found]


def _lost_lines(now: Snapshot, columns: int) -> list[Line]:
    found = []
    for host, since in sorted(now.ranks.lost.items()):
        name = pad(cut(plain(host, 40), _NAME), _NAME + 1)
        found.append(line((cut(f"{name}  lost: no step for {fmt.duration(now.elapsed - since)}", columns), "bad")))
    return found
