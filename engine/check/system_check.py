"""The whole check of this machine, in the order in which it is shown."""

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
    """All that was found. The lines are in the order in which they were told."""

    machine: Machine
    gpus: tuple[GpuFacts, ...]
    host: HostFacts
    storage: StorageFacts | None
    """None when no data path is known."""
    speed: Speed | None
    """None when it was not asked for, or the test failed: the lines say which."""
    lines: tuple[Line, ...]


def run_system_check(
    machine: Machine,
    *,
    data: Path | None,
    device: str = "auto",
    cpu_meant: bool = False,
    speed: bool = True,
    tell: Tell = lambda _lines: None,
) -> CheckResult:
    """Examine this machine: some seconds with `speed`, else a moment. `tell` hears the findings as they come.

    `cpu_meant`: a run would train on the CPU because the person asked for it.
    """
    lines: list[Line] = []

    def say(found: list[Line]) -> None:
        lines.extend(found)
        tell(found)

    gpus, host = read_gpus(machine), read_host()
    say(software_lines(machine, needed_torch()))
    say(gpu_lines(gpus, machine, cpu_meant=cpu_meant))
    say(host_lines(host, machine))
    storage = measure_storage(data) if data is not None else None
    if storage is not None:
        say(storage_lines(storage))
    tested: Speed | None = None
    if speed and machine.torch is not None:
        tested = _test_speed(machine, gpus, device, say)
    return CheckResult(
        machine=machine,
        gpus=gpus,
        host=host,
        storage=storage,
        speed=tested,
        lines=tuple(lines),
    )


def _test_speed(machine: Machine, gpus: tuple[GpuFacts, ...], device: str, say: Tell) -> Speed | None:
    """The speed test, while which the link of the first GPU is watched: at rest it sleeps."""
    seen: list[int] = []

    def watch() -> None:
        seen.extend(gpu.now.pcie_generation or 0 for gpu in read_gpus(machine) if gpu.now.cuda_index == 0)

    probe = run_probe(device, watch if machine.gpus else None)
    first = next((gpu for gpu in gpus if gpu.now.cuda_index == 0), None)
    generation = max(seen, default=0)
    width = first.now.pcie_width if first is not None else None
    link = (generation, width) if generation and width is not None else None
    say(speed_lines(probe, link, gpu_expected=bool(machine.gpus)))
    if first is not None and generation and (line := link_line(first, generation)):
        say([line])
    return probe.speed
