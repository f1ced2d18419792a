"""Detail rows of a GPU: MIG instances, activity, clocks, links and errors; unknown values are left out."""

from __future__ import annotations

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import GpuSample, MigSample
from gputrain.tui.metrics.gpu_state import narrow, slow_link
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, bar, groups, line, pad, right
from gputrain.tui.render.theme import Role

_START: Line = (("  ", "text"),)


def details(gpu: GpuSample, columns: int) -> list[Line]:
    """The rows, most important first."""
    if gpu.error:
        return []
    rows = [_instance(number, one, columns) for number, one in enumerate(gpu.instances)]
    inner = columns - 2
    parts = (_activity(gpu, inner), _clocks(gpu, inner), _links(gpu, inner), _video(gpu, inner))
    return [*rows, *((*_START, *part) for part in parts if part)]


def instance_name(instance: MigSample) -> str:
    """The MIG profile without the name of the card: ``1g.10gb``."""
    return plain(instance.name, 80).rpartition("MIG ")[2] or "instance"


def _field(label: str, value: str, known: bool, role: Role = "text") -> Line:
    return ((f"{label} ", "dim"), (value, role)) if known else ()


def _shares(of: GpuSample | MigSample, columns: int) -> Line:
    return groups(
        columns,
        _field("SM", fmt.share(of.sm_activity), of.sm_activity is not None),
        _field("tensor", fmt.share(of.tensor_activity), of.tensor_activity is not None),
        _field("DRAM", fmt.share(of.dram_activity), of.dram_activity is not None),
        _field("occupancy", fmt.share(of.sm_occupancy), of.sm_occupancy is not None),
    )


def _activity(gpu: GpuSample, columns: int) -> Line:
    shares = _shares(gpu, columns - 10)
    return (("activity  ", "dim"), *shares) if shares else ()


def _clocks(gpu: GpuSample, columns: int) -> Line:
    fastest = f"/{fmt.whole(gpu.memory_clock_max)}" if gpu.memory_clock_max else ""
    return groups(
        columns,
        _field("memory", f"{fmt.whole(gpu.memory_clock)}{fastest} MHz", gpu.memory_clock is not None),
        _field("busy", fmt.percent(gpu.memory_utilization), gpu.memory_utilization is not None),
        _field("memory at", fmt.celsius(gpu.memory_temperature), gpu.memory_temperature is not None),
        _field("slows at", fmt.celsius(gpu.temperature_slowdown), gpu.temperature_slowdown is not None),
    )


def _links(gpu: GpuSample, columns: int) -> Line:
    whole = gpu.pcie_generation is not None and gpu.pcie_width is not None
    link = f"{gpu.pcie_generation} ×{gpu.pcie_width}"
    if whole and (narrow(gpu) or slow_link(gpu)):
        link += f" of {gpu.pcie_generation_max} ×{gpu.pcie_width_max}"
    lanes: Role = "warn" if narrow(gpu) or slow_link(gpu) else "text"
    nvlink = f"↓ {fmt.byte_rate(gpu.nvlink_rx)} ↑ {fmt.byte_rate(gpu.nvlink_tx)}"
    known = gpu.ecc_uncorrected is not None or gpu.ecc_corrected is not None
    return groups(
        columns,
        _field("link PCIe", link, whole, lanes),
        _field("NVLink", nvlink, gpu.nvlink_rx is not None or gpu.nvlink_tx is not None),
        (*_ecc(gpu),) if known else (),
    )


def _ecc(gpu: GpuSample) -> Line:
    uncorrected = gpu.ecc_uncorrected or 0
    return line(
        ("ECC ", "dim"),
        (f"{uncorrected} uncorrected" if gpu.ecc_uncorrected is not None else "", "bad" if uncorrected else "text"),
        (", " if gpu.ecc_uncorrected is not None and gpu.ecc_corrected is not None else "", "dim"),
        (f"{gpu.ecc_corrected} corrected" if gpu.ecc_corrected is not None else "", "text"),
    )


def _video(gpu: GpuSample, columns: int) -> Line:
    return groups(
        columns,
        _field("video encoder", fmt.percent(gpu.encoder), gpu.encoder is not None),
        _field("decoder", fmt.percent(gpu.decoder), gpu.decoder is not None),
    )


def _instance(number: int, instance: MigSample, columns: int) -> Line:
    """Profile, memory, activity and CUDA index of a MIG instance."""
    used, total = instance.memory_used, instance.memory_total
    fraction = used / total if used is not None and total else None
    name = instance_name(instance)
    tail = groups(
        max(0, columns - 40),
        _shares(instance, max(0, columns - 40)),
        _field("CUDA", f"{instance.cuda_index}", instance.cuda_index is not None),
    )
    return line(
        (f"  .{number} ", "title"),
        (pad(name, 12) + " ", "text"),
        *bar(fraction, max(0, min(16, columns - 34)), "data"),
        (f" {right(fmt.of_size(used, total), 13)}  ", "text"),
        *tail,
    )
