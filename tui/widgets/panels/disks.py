"""The disk panel: rates, latencies, reads of the run, network, and a chart if it fits."""

from __future__ import annotations

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import DeviceSample, DiskSample, HardwareSample
from gputrain.tui.metrics import metric_lookup
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, groups, line, pad, right
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.widgets.panel import Panel, View
from gputrain.tui.widgets.panels.curves import trend
from gputrain.tui.widgets.panels.machine_panels import NOTHING

_HISTORY = 6
"""Rows reserved for the chart before single disks are listed."""


def draw_disk(view: View, columns: int, rows: int) -> list[Line]:
    """Rates of all disks, and load of the data disk."""
    sample = view.now.hardware
    if sample is None:
        return NOTHING
    disk = sample.disk
    if disk is None:
        return [line(("disk statistics are not available", "dim"))]
    drawn = [
        _traffic("read ", disk.read_rate, disk.read_iops, columns),
        _traffic("write", disk.write_rate, disk.write_iops, columns),
    ]
    if disk.device:
        drawn.append(_data_disk(disk, columns))
    if sample.psi_io is not None:
        level = metric_lookup.level("psi_io", sample.psi_io)
        drawn.append(line(("pressure ", "dim"), (fmt.share(sample.psi_io), "text" if level == "plain" else level)))
    drawn += [row for row in (_waits(disk, columns), _own_reads(view, sample, columns)) if row]
    if sample.net_rx is not None:
        drawn.append(line((f"net ↓ {fmt.byte_rate(sample.net_rx)} ↑ {fmt.byte_rate(sample.net_tx)}", "dim")))
    if len(disk.devices) > 1:
        room = max(0, rows - len(drawn) - _HISTORY)
        drawn += [_one_disk(device, columns) for device in disk.devices[:room]]
    return [*drawn[:rows], *trend(view, "disk_read", columns, rows - len(drawn))]


def _data_disk(disk: DiskSample, columns: int) -> Line:
    busy = metric_lookup.level("device_busy", disk.device_busy)
    spans: Line = (("busy ", "dim"), (fmt.share(disk.device_busy), "text" if busy == "plain" else busy))
    return groups(columns, spans, line((f"data on {plain(disk.device, 20)}", "dim")))


def _waits(disk: DiskSample, columns: int) -> Line:
    """Queue length and latency of the data disk."""
    if disk.device_queue is None:
        return ()
    return groups(
        columns,
        line(("queue ", "dim"), fmt.rate(disk.device_queue)),
        *(
            line((f"{label} ", "dim"), fmt.milliseconds(seconds))
            for label, seconds in (("reads take", disk.device_read_latency), ("writes", disk.device_write_latency))
            if seconds is not None
        ),
    )


def _own_reads(view: View, sample: HardwareSample, columns: int) -> Line:
    if not view.subject or sample.run_read_rate is None:
        return ()
    cached = sample.run_cache_hit
    return groups(
        columns,
        line((f"{plain(view.subject, 24)} ", "dim"), f"reads {fmt.byte_rate(sample.run_read_rate)}"),
        line(f"{fmt.share(cached)} ", ("from page cache", "dim")) if cached is not None else (),
    )


def _one_disk(device: DeviceSample, columns: int) -> Line:
    return groups(
        columns,
        line((pad(plain(device.name, 40), 9), "dim"), fmt.share(device.busy)),
        line((f"↓ {fmt.byte_rate(device.read_rate)} ↑ {fmt.byte_rate(device.write_rate)}", "dim")),
        line((f"{fmt.whole((device.read_iops or 0) + (device.write_iops or 0))} IO/s", "dim")),
    )


def _traffic(label: str, speed: float | None, requests: float | None, columns: int) -> Line:
    return groups(
        columns,
        line((f"{label} ", "dim"), (right(fmt.byte_rate(speed), 9), "bright")),
        line((f"{right(fmt.whole(requests), 6)} IO/s", "dim")),
    )


class DiskPanel(Panel):
    """The disks."""

    TITLE = "Disk"

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The newest sample."""
        return (now.hardware,)

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw rates, load and chart."""
        return draw_disk(view, columns, rows)
