"""The GPU panel: a block of four rows per GPU if they fit, otherwise one line per GPU."""

from __future__ import annotations

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import GpuSample, NodeSample
from gputrain.tui.metrics import metric_lookup
from gputrain.tui.metrics.gpu_state import alarms, temperature_level, used_by
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, Span, bar, cut, fit, groups, line, pad, right, spread, width, wrap
from gputrain.tui.render.theme import Role
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.widgets.panel import Panel, View
from gputrain.tui.widgets.panels.curves import gpu_trends
from gputrain.tui.widgets.panels.gpu_details import details, instance_name
from gputrain.tui.widgets.panels.nodes.node_gpus import node_gpu_rows, with_gpus

_BLOCK = 4
"""Rows of a GPU block."""
_TREND = 5
"""Rows reserved for the charts before details get any."""


def role(key: str, value: float | None) -> Role:
    """The color role of `value` for the metric `key`."""
    level = metric_lookup.level(key, value)
    return "bright" if level == "plain" else level


def throttle(gpu: GpuSample) -> Span | None:
    """The throttle reasons as text; None if the clock is not lowered."""
    if not gpu.throttle:
        return None
    level = metric_lookup.throttle_level(gpu.throttle)
    return ", ".join(plain(reason, 40) for reason in gpu.throttle), "dim" if level == "plain" else level


def unreadable(gpu: GpuSample) -> str:
    """The error text of a GPU that cannot be read."""
    why = plain(gpu.error, 120)
    if "lost" not in why.lower():
        return f"NO DATA: {why}"
    return f"LOST: {why.removeprefix('lost: ')}"


def vram_percent(gpu: GpuSample) -> float | None:
    """Used memory in percent."""
    if gpu.memory_used is None or not gpu.memory_total:
        return None
    return gpu.memory_used / gpu.memory_total * 100


def gpu_line(gpu: GpuSample, columns: int) -> Line:
    """One GPU in one line."""
    start: Line = ((f"{gpu.index} ", "title"),)
    if gpu.error:
        return (*start, (unreadable(gpu), "bad"), (f"  {plain(gpu.name, 60)}", "dim"))
    used, full = gpu.utilization, vram_percent(gpu)
    start = (*start, (pad(plain(gpu.name, 60), 24) + " ", "dim")) if columns >= 150 else start
    tail: list[Span] = [(f"{right(fmt.watts(gpu.power), 6)} ", "text")] if columns >= 48 else []
    tail += [(right(fmt.celsius(gpu.temperature), 6), _temperature_role(gpu)), (" ", "text")]
    state = _state(gpu, short=columns < 72)
    if columns >= 72:
        tail.append((pad(state[0], 14), state[1]))
    elif state[1] in ("warn", "bad"):
        tail.append((cut(state[0], 7), state[1]))
    if columns >= 110:
        tail += _rates(gpu, columns >= 150)
    # NVML reports no utilization for a GPU in MIG mode.
    utilization = "MIG" if gpu.mig and used is None else fmt.percent(used)
    figures = [(right(utilization, 6), role("gpu", used)), ("  ", "text")]
    memory: Line = ((f" {right(fmt.of_size(gpu.memory_used, gpu.memory_total), 13)}", role("vram", full)),)
    gap: Line = (("  " if columns >= 48 else " ", "text"),)
    room = max(0, columns - width((*start, *figures, *memory, *gap, *tail)))
    first = room // 2
    return (
        *start,
        *bar(used / 100 if used is not None else None, first, "compute"),
        *figures,
        *bar(full / 100 if full is not None else None, room - first, "data"),
        *memory,
        *gap,
        *tail,
    )


def _temperature_role(gpu: GpuSample) -> Role:
    level = temperature_level(gpu)
    return "bright" if level == "plain" else level


def _state(gpu: GpuSample, short: bool) -> Span:
    """The most important problem of a GPU: alarm, throttle reason, or foreign processes."""
    wrong, lowered = alarms(gpu), throttle(gpu)
    if wrong and (wrong[0].level == "bad" or lowered is None or lowered[1] != "bad"):
        return wrong[0].short if short else " ".join(alarm.short for alarm in wrong), wrong[0].level
    others = used_by(gpu)
    if others and (lowered is None or lowered[1] == "dim"):
        return "SHARED" if short else f"also {others}", "warn"
    if lowered is None:
        return "", "dim"
    return ("SLOWED", lowered[1]) if short else lowered


def _rates(gpu: GpuSample, wide: bool) -> list[Span]:
    """Clock and, if they fit, fan and PCIe traffic, in aligned columns."""
    clock = f"{fmt.whole(gpu.sm_clock)} MHz" if gpu.sm_clock is not None else ""
    spans: list[Span] = [(right(clock, 10), "dim")]
    if wide:
        fan = f"fan {fmt.percent(gpu.fan)}" if gpu.fan is not None else ""
        known = gpu.pcie_rx is not None or gpu.pcie_tx is not None
        bus = f"PCIe ↓{right(fmt.byte_rate(gpu.pcie_rx), 9)} ↑{right(fmt.byte_rate(gpu.pcie_tx), 9)}" if known else ""
        spans += [("  ", "text"), (pad(fan, 10), "dim"), (pad(bus, 26), "dim")]
    return spans


def gpu_block(gpu: GpuSample, columns: int) -> list[Line]:
    """One GPU in four rows: name, utilization, memory, other values."""
    name = line((f"{gpu.index} ", "title"), (plain(gpu.name, 60) or "GPU", "bright"))
    if gpu.error:
        return [name, line((f"  {unreadable(gpu)}", "bad"))]
    lowered = throttle(gpu)
    notes = [line((alarm.text, alarm.level)) for alarm in alarms(gpu)]
    if lowered:
        notes.append(line((f"clock lowered by: {lowered[0]}", lowered[1])))
    state = groups(columns - width(name) - 1, *notes)
    full = vram_percent(gpu)
    used = _meter("util", gpu.utilization, fmt.percent(gpu.utilization), role("gpu", gpu.utilization), columns)
    return [
        spread(name, state, columns),
        _instances(gpu, columns) if gpu.mig else used,
        _meter("VRAM", full, fmt.of_size(gpu.memory_used, gpu.memory_total), role("vram", full), columns),
        _rest(gpu, columns),
    ]


def _instances(gpu: GpuSample, columns: int) -> Line:
    """All MIG instances in one row; NVML reports no utilization for a GPU in MIG mode."""
    count = len(gpu.instances)
    summary = f"{count} {'instance' if count == 1 else 'instances'}" if count else "no instances"
    # Hopper and newer report activity instead.
    without = "" if any(one.sm_activity is not None for one in gpu.instances) or not count else ", utilization unknown"
    start = line(("  MIG ", "dim"), f"{summary}{without}")
    named = [
        line((f"{instance_name(one)} ", "dim"), fmt.of_size(one.memory_used, one.memory_total)) for one in gpu.instances
    ]
    return groups(columns, start, *named)


def _meter(label: str, percent: float | None, value: str, value_role: Role, columns: int) -> Line:
    fraction = percent / 100 if percent is not None else None
    drawn = bar(fraction, columns - 25, "compute" if label == "util" else "data")
    return ((f"  {label} ▕", "dim"), *drawn, ("▏ ", "dim"), (right(value, 14), value_role))


def _rest(gpu: GpuSample, columns: int) -> Line:
    limit = f"/{gpu.power_limit:.0f}" if gpu.power_limit is not None else ""
    spans: list[Span] = [("  ", "text")]
    if gpu.power is not None:
        spans.append((f"{gpu.power:.0f}{limit} W  ", "text"))
    if gpu.temperature is not None:
        spans.append((f"{fmt.celsius(gpu.temperature)}  ", _temperature_role(gpu)))
    if gpu.fan is not None:
        spans.append((f"fan {fmt.percent(gpu.fan)}  ", "dim"))
    if gpu.sm_clock is not None:
        fastest = f"/{fmt.whole(gpu.sm_clock_max)}" if gpu.sm_clock_max else ""
        spans.append((f"SM {fmt.whole(gpu.sm_clock)}{fastest} MHz  ", "dim"))
    if gpu.pcie_rx is not None or gpu.pcie_tx is not None:
        spans.append((f"PCIe ↓ {fmt.byte_rate(gpu.pcie_rx)} ↑ {fmt.byte_rate(gpu.pcie_tx)}", "dim"))
    others = used_by(gpu)
    if others:
        spans.insert(1, (f"also used by {others}  ", "warn"))
    while len(spans) > 1 and width(spans) > columns:
        spans.pop()
    return tuple(spans)


def draw_gpus(view: View, columns: int, rows: int) -> list[Line]:
    """All GPUs in at most `rows` rows, with charts below."""
    sample = view.now.hardware
    if nodes := with_gpus(view.now):
        return _of_nodes(view.now, nodes, columns, rows)
    if sample is None:
        return [line(("no machine sample yet", "dim"))]
    if not sample.gpus:
        return [line((row, "text")) for row in wrap(absent(view.now), columns, rows)]
    spare = rows - len(sample.gpus) * _BLOCK
    if spare >= 0:
        each = (spare - _TREND if spare >= _TREND else spare) // len(sample.gpus)
        drawn = [row for gpu in sample.gpus for row in (*gpu_block(gpu, columns), *details(gpu, columns)[:each])]
    else:
        shown = sample.gpus if len(sample.gpus) <= rows else sample.gpus[: rows - 1]
        drawn = [fit(gpu_line(gpu, columns), columns) for gpu in shown]
        if len(shown) < len(sample.gpus):
            drawn.append(line((f"and {len(sample.gpus) - len(shown)} more: f shows all", "dim")))
    return [*drawn, *gpu_trends(view, columns, rows - len(drawn))]


def _of_nodes(now: Snapshot, nodes: list[NodeSample], columns: int, rows: int) -> list[Line]:
    """The GPUs of several machines: each of them below the name of its machine, or one row for each machine."""
    own = now.hardware.gpus if now.hardware is not None else ()
    machines = [(one.host, one.gpus) for one in nodes]
    if own:
        machines.insert(0, (now.started.host if now.started is not None else "", own))
    if sum(1 + len(gpus) for _, gpus in machines) > rows:
        return node_gpu_rows(machines, columns, rows)
    drawn = []
    for host, gpus in machines:
        drawn.append(line((cut(plain(host, 60), columns), "title")))
        drawn += [fit(gpu_line(gpu, columns), columns) for gpu in gpus]
    return drawn


def absent(now: Snapshot) -> str:
    """Why no GPU is shown, and where the run trains."""
    reason = plain(now.hardware.gpu_error, 120) if now.hardware else ""
    if now.started is None and now.model is None:
        return reason or "no GPU"
    device = now.model.device if now.model is not None else "cpu"
    if now.is_script:
        if now.script_model is None:
            return reason or "no GPU"
        device = now.script_model.device
    training = "training on CPU" if device == "cpu" else "its metrics cannot be read"
    return f"{reason or 'no GPU'}: {training}"


class GpuPanel(Panel):
    """Utilization, memory, power and temperature of each GPU."""

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The newest samples and the model."""
        return (now.hardware, now.model, now.node_samples)

    def title(self, view: View) -> str:
        """The title with the number of GPUs."""
        count = len(view.now.hardware.gpus) if view.now.hardware else 0
        nodes = with_gpus(view.now)
        count += sum(len(one.gpus) for one in nodes)
        where = f" on {len(nodes) + bool(view.now.hardware and view.now.hardware.gpus)} nodes" if nodes else ""
        return "GPU" if count < 2 else f"{count} GPUs{where}"

    def note(self, view: View) -> str:
        """The precision."""
        model = view.now.model
        return model.precision if model is not None and model.device != "cpu" else ""

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw the GPUs."""
        return draw_gpus(view, columns, rows)
