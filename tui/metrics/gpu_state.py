"""What is wrong with a GPU, in words and in how bad it is. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import GpuProcess, GpuSample
from gputrain.tui.metrics import metric_table
from gputrain.tui.metrics.metric import Level

_NEAR = 10
"""Degrees below its own slowdown threshold from which a GPU is called warm."""
_AT_WORK = 50
"""Percent of utilization from which a slow link is no sign of rest: idle GPUs lower their link's generation."""


class Alarm(NamedTuple):
    """One thing that is wrong."""

    words: str
    short: str
    level: Literal["warn", "bad"]


def temperature_level(gpu: GpuSample) -> Level:
    """By the card's own slowdown threshold; by the usual ones where the driver does not tell it."""
    heat, slows = gpu.temperature, gpu.temperature_slowdown
    if heat is None or not slows:
        return metric_table.level("temperature", heat)
    return "bad" if heat >= slows else "warn" if heat >= slows - _NEAR else "plain"


def alarms(gpu: GpuSample) -> list[Alarm]:
    """The worst first; empty if all is well. Lowered clocks are not among them."""
    found = []
    if temperature_level(gpu) == "bad":
        found.append(Alarm("HOT", "HOT", "bad"))
    if gpu.ecc_uncorrected:
        errors = "error" if gpu.ecc_uncorrected == 1 else "errors"
        found.append(Alarm(f"{gpu.ecc_uncorrected} uncorrected ECC {errors}", f"ECC {gpu.ecc_uncorrected}", "bad"))
    if narrow(gpu):
        found.append(Alarm(f"PCIe ×{gpu.pcie_width} of ×{gpu.pcie_width_max}", f"PCIe ×{gpu.pcie_width}", "warn"))
    if slow_link(gpu):
        told = f"PCIe {gpu.pcie_generation} of {gpu.pcie_generation_max}"
        found.append(Alarm(told, f"PCIe {gpu.pcie_generation}", "warn"))
    return found


def narrow(gpu: GpuSample) -> bool:
    """Whether the link has fewer lanes than it could: a card that sits badly, or a slot that is shared."""
    return _below(gpu.pcie_width, gpu.pcie_width_max)


def slow_link(gpu: GpuSample) -> bool:
    """Whether the link is of a lower generation than it could be, while the GPU works."""
    return _below(gpu.pcie_generation, gpu.pcie_generation_max) and (gpu.utilization or 0) >= _AT_WORK


def _below(value: int | None, most: int | None) -> bool:
    return value is not None and most is not None and 0 < value < most


def neighbours(gpu: GpuSample) -> list[GpuProcess]:
    """Processes of others on the GPU or its instances, the largest first."""
    found = [*gpu.processes, *(process for instance in gpu.instances for process in instance.processes)]
    others = [process for process in found if not process.ours and not process.hidden]
    return sorted(others, key=lambda process: -(process.memory or 0))


def used_by(gpu: GpuSample) -> str:
    """Who else is on the GPU: ``eve``, ``eve +2``; empty if nobody is."""
    others = neighbours(gpu)
    if not others:
        return ""
    who = plain(others[0].user or str(others[0].pid), 20)
    return who + (f" +{len(others) - 1}" if len(others) > 1 else "")
