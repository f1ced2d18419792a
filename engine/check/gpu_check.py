"""System check of the GPUs: memory, power limit, PCIe link, persistence mode, ECC errors, other programs."""

from __future__ import annotations

import os
import threading
from typing import Any

import msgspec
from msgspec import Struct

from gputrain.engine.check.findings import Level, Line
from gputrain.engine.common.units import GIB, size
from gputrain.engine.events import GpuProcess, GpuSample
from gputrain.engine.hardware.machine import NVML_SECONDS, Machine, hides_gpus, unusable_gpu
from gputrain.engine.hardware.nvml import Device, Nvml, NvmlError, Unreadable
from gputrain.engine.monitor.gpus.gpu_sample import GpuReader
from gputrain.engine.monitor.processes.process_owners import ProcessOwners

_COMPUTE_MODES = {0: "default", 1: "exclusive thread", 2: "prohibited", 3: "exclusive process"}
"""nvmlComputeMode_t (nvml.h)."""
_POWER_MARGIN = 0.95
"""Share of the highest possible power limit below which the check adds a note."""
_BUSY_PERCENT = 20.0
_BUSY_BYTES = 1 * GIB


class GpuFacts(Struct, frozen=True, kw_only=True):
    """One GPU, in W, bytes and MHz; None: the driver does not report it."""

    now: GpuSample
    capability: tuple[int, int] | None = None
    power_limit_default: float | None = None
    power_limit_max: float | None = None
    persistence: bool | None = None
    compute_mode: str = ""
    pcie_generation_max: int | None = None
    """The highest generation that card and slot support."""
    pcie_width_max: int | None = None


def read_gpus(machine: Machine, seconds: float = NVML_SECONDS) -> tuple[GpuFacts, ...]:
    """All GPUs of the driver, hidden ones too; empty where NVML cannot be read or does not answer in `seconds`."""
    found: list[tuple[GpuFacts, ...]] = []
    thread = threading.Thread(target=lambda: found.append(_read(machine)), name="nvml-check", daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else ()


def _read(machine: Machine) -> tuple[GpuFacts, ...]:
    try:
        nvml = Nvml()
    except NvmlError:
        return ()  # the machine's `gpu_error` says why
    try:
        cuda_index = {gpu.uuid: number for number, gpu in enumerate(machine.gpus)}
        return tuple(_facts(nvml, device, cuda_index) for device in nvml.devices())
    except NvmlError:
        return ()
    finally:
        nvml.close()


def _facts(nvml: Nvml, device: Device | Unreadable, cuda_index: dict[str, int]) -> GpuFacts:
    if isinstance(device, Unreadable):
        return GpuFacts(now=GpuSample(index=device.index, error=device.reason))
    try:
        reader = GpuReader(nvml, device, cuda_index)
        sample = reader.read(pcie=False)
        reader.close()
        return GpuFacts(now=_with_owners(sample), capability=device.capability, **_settings(nvml, device.handle))
    except NvmlError as error:
        return GpuFacts(now=GpuSample(index=device.index, name=device.name, uuid=device.uuid, error=str(error)))


def _with_owners(sample: GpuSample) -> GpuSample:
    owners = ProcessOwners()
    described = tuple(owners.describe(process, frozenset({os.getpid()})) for process in sample.processes)
    return msgspec.structs.replace(sample, processes=described)


def _settings(nvml: Nvml, handle: Any) -> dict[str, Any]:
    """Settings of the GPU that do not change under load."""
    api, ask = nvml.api, nvml.optional
    default = ask(api.nvmlDeviceGetPowerManagementDefaultLimit, handle)
    limits = ask(api.nvmlDeviceGetPowerManagementLimitConstraints, handle)
    persistence = ask(api.nvmlDeviceGetPersistenceMode, handle)
    mode = ask(api.nvmlDeviceGetComputeMode, handle)
    return {
        "power_limit_default": default / 1000 if default is not None else None,
        "power_limit_max": limits[1] / 1000 if limits else None,
        "persistence": None if persistence is None else bool(persistence),
        "compute_mode": _COMPUTE_MODES.get(mode, "") if mode is not None else "",
        "pcie_generation_max": ask(api.nvmlDeviceGetMaxPcieLinkGeneration, handle),
        "pcie_width_max": ask(api.nvmlDeviceGetMaxPcieLinkWidth, handle),
    }


def gpu_lines(gpus: tuple[GpuFacts, ...], machine: Machine, *, cpu_requested: bool) -> list[Line]:
    """The findings. `cpu_requested`: the user chose device=cpu. Pure."""
    lines = _merged([line for gpu in gpus for line in _one(gpu)])
    if not machine.gpus:
        return [*lines, _none(machine, cpu_requested)]
    if machine.gpu_error:
        lines.append(Line("gpu", "GPU", machine.gpu_error, "warning"))
    return lines


def _merged(lines: list[Line]) -> list[Line]:
    """Merge equal findings of several GPUs into one that names all of them."""
    found: dict[tuple[str, Level], list[Line]] = {}
    for line in lines:
        found.setdefault((line.text, line.level), []).append(line)
    return [_joined(alike) for alike in found.values()]


def _joined(alike: list[Line]) -> Line:
    numbers = [line.title.removeprefix("GPU ") for line in alike]
    if len(numbers) == 1:
        return alike[0]
    in_a_row = numbers == [str(number) for number in range(int(numbers[0]), int(numbers[0]) + len(numbers))]
    title = f"GPUs {numbers[0]} to {numbers[-1]}" if in_a_row else f"GPUs {', '.join(numbers)}"
    commands = tuple(dict.fromkeys(command for line in alike for command in line.commands))
    return Line("gpu", title, alike[0].text, alike[0].level, commands)


def _none(machine: Machine, cpu_requested: bool) -> Line:
    """The finding that no GPU is usable; a problem where the machine seems to have one."""
    why = unusable_gpu(machine)
    text = f"{why or 'no GPU that torch can use'}: a run would train on the CPU"
    if not why or cpu_requested:
        return Line("gpu", "GPU", text, "note")
    level: Level = "warning" if hides_gpus(machine) else "problem"
    return Line("gpu", "GPU", f"{text}; set device=cpu if that is intended", level)


def _one(gpu: GpuFacts) -> list[Line]:
    now = gpu.now
    title = f"GPU {now.index}"
    if now.error:
        return [Line("gpu", title, f"{now.name or 'a GPU'}: {now.error}", "warning")]
    if _hidden(now) and not now.mig:
        return [_name(gpu, title)]
    lines = [_name(gpu, title), _power(gpu, title), _link(gpu, title)]
    if gpu.persistence is False:
        text = "persistence mode is off: the first program waits until the driver has started"
        lines.append(Line("gpu", title, text, "note", (f"sudo nvidia-smi -i {now.index} -pm 1",)))
    if gpu.compute_mode == "prohibited":
        text = "compute mode is prohibited: no program may use this GPU"
        lines.append(Line("gpu", title, text, "problem", (f"sudo nvidia-smi -i {now.index} -c DEFAULT",)))
    if now.ecc_uncorrected:
        text = f"{now.ecc_uncorrected} uncorrectable memory errors since the driver was loaded"
        lines.append(Line("gpu", title, text, "warning", (f"nvidia-smi -i {now.index} -q -d ECC,PAGE_RETIREMENT",)))
    return [*lines, *_others(gpu, title)]


def _name(gpu: GpuFacts, title: str) -> Line:
    now = gpu.now
    words = [now.name, size(now.memory_total) if now.memory_total else "memory unknown"]
    if now.memory_used is not None:
        words.append(f"{size(now.memory_used)} in use")
    if gpu.capability:
        words.append("compute capability {}.{}".format(*gpu.capability))
    if now.mig:
        words.append(f"divided into {len(now.instances)} MIG instances")
    words.append("hidden by CUDA_VISIBLE_DEVICES" if _hidden(now) else "")
    return Line("gpu", title, ", ".join(word for word in words if word), "note" if _hidden(now) else "ok")


def _hidden(now: GpuSample) -> bool:
    return now.cuda_index is None and all(one.cuda_index is None for one in now.instances)


def _power(gpu: GpuFacts, title: str) -> Line:
    now = gpu.now
    drawn = f"{now.power:.0f} W now" if now.power is not None else "power unknown"
    if now.power_limit is None:
        return Line("gpu", title, f"{drawn}, power limit unknown")
    text = f"{drawn}, limit {now.power_limit:.0f} W"
    heat = f", {now.temperature:.0f} °C" if now.temperature is not None else ""
    clocks = f", clock up to {now.sm_clock_max} MHz" if now.sm_clock_max else ""
    highest = gpu.power_limit_max
    commands: tuple[str, ...] = ()
    level: Level = "ok"
    if highest is not None and now.power_limit < _POWER_MARGIN * highest:
        text, level = f"{text} of {highest:.0f} W possible", "note"
        commands = (f"sudo nvidia-smi -i {now.index} -pl {highest:.0f}",)
    if now.sm_clock_max:
        commands += (f"sudo nvidia-smi -i {now.index} -lgc {now.sm_clock_max}",)
    return Line("gpu", title, text + heat + clocks, level, commands)


def _link(gpu: GpuFacts, title: str) -> Line:
    now = gpu.now
    if now.pcie_width is None or now.pcie_generation is None:
        return Line("gpu", title, "PCIe link unknown")
    text = f"PCIe {now.pcie_generation} ×{now.pcie_width}"
    best, lanes = gpu.pcie_generation_max, gpu.pcie_width_max
    if best is None or lanes is None:
        return Line("gpu", title, text)
    text += f" of {best} ×{lanes}"
    if now.pcie_width < lanes:
        problem = "fewer lanes than the card supports; check that it is seated properly, or use another slot"
        return Line("gpu", title, f"{text}: {problem}", "warning")
    # An idle GPU lowers the generation to save power, so that is not a finding.
    return Line("gpu", title, text + (" (idle; it rises under load)" if now.pcie_generation < best else ""))


def link_line(gpu: GpuFacts, generation: int) -> Line | None:
    """A finding if the PCIe link of the tested GPU stayed below its best generation under load, else None. Pure."""
    best = gpu.pcie_generation_max
    if best is None or generation >= best:
        return None
    text = f"PCIe {generation} of {best} under load: check the firmware (BIOS) setting, the riser cable and the slot"
    return Line("speed", f"GPU {gpu.now.index}", text, "note")


def _others(gpu: GpuFacts, title: str) -> list[Line]:
    """Findings about other programs on the GPU."""
    now = gpu.now
    others = [process for process in now.processes if not process.ours]
    used = sum(process.memory or 0 for process in others)
    if not others:
        if (now.utilization or 0) >= _BUSY_PERCENT and not now.mig:
            text = f"{now.utilization:.0f} % busy with processes that are not visible here"
            return [Line("gpu", title, text, "warning")]
        return []
    named = ", ".join(_process(process) for process in others[:4]) + (" …" if len(others) > 4 else "")
    busy = (now.utilization or 0) >= _BUSY_PERCENT or used >= _BUSY_BYTES
    return [Line("gpu", title, f"also used by {named}", "warning" if busy else "note")]


def _process(process: GpuProcess) -> str:
    name = process.name or ("a program outside this container" if process.hidden else "a program")
    memory = f", {size(process.memory)}" if process.memory else ""
    return f"{name} (pid {process.pid}{memory})"
