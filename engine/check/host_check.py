"""System check of the host: cores, frequency governor, thread variables, memory, ``/dev/shm``, ulimits."""

from __future__ import annotations

import math
import os
import resource
from pathlib import Path

from msgspec import Struct

from gputrain.engine.check.findings import Level, Line
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import GIB, MIB, size
from gputrain.engine.hardware.machine import SHM, Machine

_FILES = 4096
"""Limit of open files below which worker processes may run out of them: each has pipes, a slot buffer and files."""
_SMALL_SHM = 64 * MIB
"""Size of ``/dev/shm`` in a container, unless ``docker run`` sets another."""
_SHM_USE = "cache=ram and the workers of a custom data set need it"
_LITTLE_MEMORY = 4 * GIB
"""Memory that torch with CUDA and a small batch buffer need."""
_LIMITS = {
    "open files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
    "locked memory": resource.RLIMIT_MEMLOCK,
    "address space": resource.RLIMIT_AS,
    "file size": resource.RLIMIT_FSIZE,
}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


class HostFacts(Struct, frozen=True, kw_only=True):
    """Settings of the host."""

    governors: tuple[str, ...]
    """Frequency governors of the cores, without duplicates; empty where the kernel shows none."""
    driver: str
    """The frequency driver (``intel_pstate``, ``acpi-cpufreq``), or empty."""
    threads: dict[str, str]
    """Environment variables for numbers of threads that are set."""
    limits: dict[str, int | None]
    """Soft limits of this process by name; None: unlimited."""
    swap_total: int


def read_host(sys: Path = Path("/sys"), proc: Path = Path("/proc")) -> HostFacts:
    """Read the host's settings; takes some milliseconds."""
    policies = sorted((sys / "devices/system/cpu/cpufreq").glob("policy*"))
    governors = dict.fromkeys(_word(policy / "scaling_governor") for policy in policies)
    soft = {name: resource.getrlimit(number)[0] for name, number in _LIMITS.items()}
    return HostFacts(
        governors=tuple(governor for governor in governors if governor),
        driver=_word(policies[0] / "scaling_driver") if policies else "",
        threads={name: plain(os.environ[name], 40) for name in _THREADS if name in os.environ},
        limits={name: None if value == resource.RLIM_INFINITY else value for name, value in soft.items()},
        swap_total=_swap(proc),
    )


def _word(path: Path) -> str:
    try:
        return plain(path.read_text().strip(), 40)
    except OSError:
        return ""


def _swap(proc: Path) -> int:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("SwapTotal:")), 0)


def host_lines(facts: HostFacts, machine: Machine) -> list[Line]:
    """The findings. Pure."""
    return [
        _cores(machine),
        _governor(facts),
        _threads(facts, machine),
        _memory(facts, machine),
        _shm(machine),
        _limits(facts),
    ]


def _cores(machine: Machine) -> Line:
    text = f"{machine.usable_cores:g} of {machine.host_cores} cores usable, {machine.cpu_model}"
    if machine.usable_cores < 2:
        return Line("cpu", "cores", f"{text}: data workers and trainer share one core", "warning")
    return Line("cpu", "cores", text + _container(machine))


def _container(machine: Machine) -> str:
    limited = machine.usable_cores < machine.host_cores
    place = f"{machine.container} container" if machine.container else "a cgroup or affinity"
    return f" (limited by {place})" if limited else ""


def _governor(facts: HostFacts) -> Line:
    if not facts.governors:
        return Line("cpu", "governor", "not visible here (virtual machine or container)")
    text = ", ".join(facts.governors) + (f" ({facts.driver})" if facts.driver else "")
    if facts.governors == ("performance",):
        return Line("cpu", "governor", text)
    return Line(
        "cpu",
        "governor",
        f"{text}: the cores may raise their clock late",
        "note",
        ("echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",),
    )


def _threads(facts: HostFacts, machine: Machine) -> Line:
    cores = max(1, math.floor(machine.usable_cores))
    said = ", ".join(f"{name}={value}" for name, value in facts.threads.items())
    if not said:
        return Line("cpu", "threads", f"OMP_NUM_THREADS is not set: torch uses the {cores} usable cores")
    too_many = [name for name, value in facts.threads.items() if value.isdigit() and int(value) > cores]
    if too_many:
        remedy = tuple(f"export {name}={cores}" for name in too_many)
        return Line("cpu", "threads", f"{said}: more threads than the {cores} usable cores", "warning", remedy)
    return Line("cpu", "threads", said)


def _memory(facts: HostFacts, machine: Machine) -> Line:
    available, limit = machine.memory_available, machine.memory_limit
    text = f"{size(available)} available of {size(limit)}"
    if limit < machine.memory_total:
        text += f", the cgroup's limit (the host has {size(machine.memory_total)})"
    if facts.swap_total:
        text += f", swap {size(facts.swap_total)}"
    level: Level = "ok"
    if available < _LITTLE_MEMORY:
        text, level = f"{text}: too little, torch and a batch buffer need about {size(_LITTLE_MEMORY)}", "warning"
    return Line("memory", "RAM", text, level)


def _shm(machine: Machine) -> Line:
    if not machine.shm_total:
        return Line("memory", str(SHM), "does not exist, and a run needs a few KB of it", "problem")
    if machine.shm_free <= _SMALL_SHM:
        text = f"{size(machine.shm_free)} free of {size(machine.shm_total)}: little, {_SHM_USE}"
        command = "docker run --shm-size=8g …" if machine.container else f"sudo mount -o remount,size=8g {SHM}"
        return Line("memory", str(SHM), text, "warning", (command,))
    return Line("memory", str(SHM), f"{size(machine.shm_free)} free of {size(machine.shm_total)}")


def _limits(facts: HostFacts) -> Line:
    limits = facts.limits
    text = ", ".join(f"{name} {_shown(name, value)}" for name, value in limits.items())
    files, space = limits.get("open files"), limits.get("address space")
    if space is not None:
        # CUDA reserves address space for all of the GPU's and the host's memory.
        text += ": CUDA needs an unlimited address space"
        return Line("limits", "ulimit", text, "warning", ("ulimit -v unlimited",))
    if files is not None and files < _FILES:
        text += ": too few open files for many worker processes"
        return Line("limits", "ulimit", text, "note", (f"ulimit -n {_FILES}",))
    return Line("limits", "ulimit", text)


def _shown(name: str, value: int | None) -> str:
    if value is None:
        return "unlimited"
    return size(value) if name in ("locked memory", "address space", "file size") else str(value)
