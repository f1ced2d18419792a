"""Detects problems of a GPU, with text and severity. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import GpuProcess, GpuSample
from gputrain.tui.metrics import metric_lookup
from gputrain.tui.metrics.metric import Level

_NEAR = 10
"""Degrees below the slowdown threshold of the card at which the warning level starts."""
_AT_WORK = 50
"""Utilization in percent above which a slow PCIe link is a problem: idle GPUs lower their link generation."""


class Alarm(NamedTuple):
    """One problem of a GPU."""

    text: str
    short: str
    level: Literal["warn", "bad"]


def temperature_level(gpu: GpuSample) -> Level:
    """Level by the slowdown threshold of the card; by common limits if the driver does not report it."""
    heat, slows = gpu.temperature, gpu.temperature_slowdown
    if heat is None or not slows:
        return metric_lookup.level("temperature", heat)
    return "bad" if heat >= slows else "warn" if heat >= slows - _NEAR else "plain"


def alarms(gpu: GpuSample) -> list[Alarm]:
    """All problems, worst first. Lowered clocks are not included."""
    found = []
    if temperature_level(gpu) == "bad":
        found.append(Alarm("HOT", "HOT", "bad"))
    if gpu.ecc_uncorrected:
        errors = "error" if gpu.ecc_uncorrected == 1 else "errors"
        found.append(Alarm(f"{gpu.ecc_uncorrected} uncorrected ECC {errors}", f"ECC {gpu.ecc_uncorrected}", "bad"))
    if narrow(gpu):
        found.append(Alarm(f"PCIe ×{gpu.pcie_width} of ×{gpu.pcie_width_max}", f"PCIe ×{gpu.pcie_width}", "warn"))
    if slow_link(gpu):
        text = f"PCIe {gpu.pcie_generation} of {gpu.pcie_generation_max}"
        found.append(Alarm(text, f"PCIe {gpu.pcie_generation}", "warn"))
    return found


def narrow(gpu: GpuSample) -> bool:
    """Whether the PCIe link has fewer lanes than possible: badly seated card, or shared slot."""
    return _below(gpu.pcie_width, gpu.pcie_width_max)


def slow_link(gpu: GpuSample) -> bool:
    """Whether the PCIe link runs at a lower generation than possible while the GPU is busy."""
    return _below(gpu.pcie_generation, gpu.pcie_generation_max) and (gpu.utilization or 0) >= _AT_WORK


def _below(value: int | None, most: int | None) -> bool:
    return value is not None and most is not None and 0 < value < most


def foreign_processes(gpu: GpuSample) -> list[GpuProcess]:
    """Processes outside the run on the GPU or its MIG instances, largest memory first."""
    found = [*gpu.processes, *(process for instance in gpu.instances for process in instance.processes)]
    others = [process for process in found if not process.ours and not process.hidden]
    return sorted(others, key=lambda process: -(process.memory or 0))


def used_by(gpu: GpuSample) -> str:
    """Who else uses the GPU: ``eve``, ``eve +2``; empty if nobody."""
    others = foreign_processes(gpu)
    if not others:
        return ""
    who = plain(others[0].user or str(others[0].pid), 20)
    return who + (f" +{len(others) - 1}" if len(others) > 1 else "")
