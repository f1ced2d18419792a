"""The system check of this machine: software, GPUs, host, storage, speed, in this order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from gputrain.engine.check.findings import Line
from gputrain.engine.check.gpu_check import GpuFacts, gpu_lines, link_line, read_gpus
from gputrain.engine.check.host_check import HostFacts, host_lines, read_host
from gputrain.engine.check.software_check import software_lines
from gputrain.engine.check.speed_probe import Speed, run_probe, speed_lines
from gputrain.engine.check.storage_check import StorageFacts, measure_storage, storage_lines
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.hardware.torch_build import needed_torch

Tell = Callable[[list[Line]], None]


class CheckResult(Struct, frozen=True, kw_only=True):
    """All facts and findings; the lines are in the order of the check."""

    machine: Machine
    gpus: tuple[GpuFacts, ...]
    host: HostFacts
    storage: StorageFacts | None
    """None without a data path."""
    speed: Speed | None
    """None when it was not requested, or the test failed (see `lines`)."""
    lines: tuple[Line, ...]


def run_system_check(
    machine: Machine,
    *,
    data: Path | None,
    device: str = "auto",
    cpu_requested: bool = False,
    speed: bool = True,
    on_lines: Tell = lambda _lines: None,
) -> CheckResult:
    """Check this machine, which takes some seconds with `speed`. `on_lines` gets the findings of each part at once.

    `cpu_requested`: the user chose device=cpu.
    """
    lines: list[Line] = []

    def add(found: list[Line]) -> None:
        lines.extend(found)
        on_lines(found)

    gpus, host = read_gpus(machine), read_host()
    add(software_lines(machine, needed_torch()))
    add(gpu_lines(gpus, machine, cpu_requested=cpu_requested))
    add(host_lines(host, machine))
    storage = measure_storage(data) if data is not None else None
    if storage is not None:
        add(storage_lines(storage))
    tested: Speed | None = None
    if speed and machine.torch is not None:
        tested = _test_speed(machine, gpus, device, add)
    return CheckResult(
        machine=machine,
        gpus=gpus,
        host=host,
        storage=storage,
        speed=tested,
        lines=tuple(lines),
    )


def _test_speed(machine: Machine, gpus: tuple[GpuFacts, ...], device: str, add: Tell) -> Speed | None:
    """Run the speed test, and meanwhile read the PCIe link of the first GPU, which is slower while idle."""
    seen: list[int] = []

    def watch() -> None:
        seen.extend(gpu.now.pcie_generation or 0 for gpu in read_gpus(machine) if gpu.now.cuda_index == 0)

    probe = run_probe(device, watch if machine.gpus else None)
    first = next((gpu for gpu in gpus if gpu.now.cuda_index == 0), None)
    generation = max(seen, default=0)
    width = first.now.pcie_width if first is not None else None
    link = (generation, width) if generation and width is not None else None
    add(speed_lines(probe, link, gpu_expected=bool(machine.gpus)))
    if first is not None and generation and (line := link_line(first, generation)):
        add([line])
    return probe.speed
