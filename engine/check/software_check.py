"""System check of the software: NVIDIA driver, CUDA, torch and torchvision."""

from __future__ import annotations

from gputrain.engine.check.findings import Level, Line
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.hardware.torch_build import TorchBuild
from gputrain.engine.hardware.torch_compatibility import (
    install_command,
    machine_problem,
    torchvision_problem,
    wheel_index,
)

OLDEST_TORCH = (2, 9)
"""The minimum version in pyproject.toml."""


def software_lines(machine: Machine, needs: str) -> list[Line]:
    """The findings. `needs`: torchvision's requirement for torch (``==2.9.1``). Pure."""
    lines = [_driver(machine)]
    build = machine.torch
    if build is None:
        command = install_command(_capability(machine), machine.cuda_driver) or "pip install torch torchvision"
        return [*lines, Line("software", "torch", "torch is not installed", "problem", (command,))]
    return [*lines, _torch(machine, build), _torchvision(build, needs)]


def _capability(machine: Machine) -> tuple[int, int] | None:
    return machine.gpus[0].capability if machine.gpus else None


def _driver(machine: Machine) -> Line:
    if not machine.driver:
        return Line("software", "driver", machine.gpu_error or "no NVIDIA driver", "note")
    cuda = f", supports CUDA {machine.cuda_driver}" if machine.cuda_driver else ""
    return Line("software", "driver", f"NVIDIA {machine.driver}{cuda}")


def _torch(machine: Machine, build: TorchBuild) -> Line:
    text = f"torch {build.version}, " + (f"built with CUDA {build.cuda}" if build.cuda else "built for the CPU only")
    fault = machine_problem(machine)
    if fault is not None:
        commands = (fault.command,) if fault.command else ()
        return Line("software", "torch", f"{fault.reason}; {fault.remedy}", "problem", commands)
    level: Level = "ok"
    if _release(build.version) < OLDEST_TORCH:
        text, level = f"{text}: too old, the oldest supported version is 2.9", "problem"
    return Line("software", "torch", text, level)


def _release(version: str) -> tuple[int, ...]:
    numbers = version.partition("+")[0].split(".")[:2]
    return tuple(int(number) for number in numbers if number.isdigit())


def _torchvision(build: TorchBuild, needs: str) -> Line:
    fault = torchvision_problem(build, needs)
    if not fault:
        return Line("software", "torchvision", f"torchvision {build.torchvision}")
    command = f"pip install --force-reinstall torch torchvision{wheel_index(build.version)}"
    return Line("software", "torchvision", fault, "warning" if build.torchvision else "problem", (command,))
