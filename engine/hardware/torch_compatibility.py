"""Whether the installed torch supports this machine's GPU and driver, and how to install one that does. Pure.

The facts about wheels are from PyTorch's CUDA support matrix (RELEASE.md, and issues 190355 and 190385 of
pytorch/pytorch):
CUDA 13 has no kernels for compute capabilities below 7.5, CUDA 12.6 none above 9.0; wheels with CUDA 12.6 end at
torch 2.14.
"""

from __future__ import annotations

import re

from msgspec import Struct

from gputrain.engine.hardware.machine import Machine
from gputrain.engine.hardware.torch_build import TorchBuild

_INDEX = "https://download.pytorch.org/whl"
_CUDA_13_FROM = (7, 5)
_CUDA_126_UP_TO = (9, 0)
_BLACKWELL_CUDA = (12, 8)
"""The first CUDA with kernels for compute capabilities 10 and 12."""


class GpuProblem(Struct, frozen=True):
    """Why torch cannot use a GPU, and the remedy."""

    reason: str
    remedy: str
    command: str = ""


def machine_problem(machine: Machine) -> GpuProblem | None:
    """Why torch cannot use the first GPU of `machine`; None if no reason is known, or there is no GPU."""
    if not machine.gpus:
        return None
    gpu = machine.gpus[0]
    return gpu_problem(machine.torch, gpu.name, gpu.capability, machine.cuda_driver)


def gpu_problem(
    build: TorchBuild | None, gpu: str, capability: tuple[int, int] | None, cuda_driver: str
) -> GpuProblem | None:
    """Why `build` cannot use a GPU of `capability` with a driver for CUDA `cuda_driver`; None if no reason is known."""
    if build is None:
        return None
    command = install_command(capability, cuda_driver)
    if not build.cuda:
        reason = f"torch {build.version} is built for the CPU only, but the machine has {gpu}"
        return GpuProblem(reason, "install a build of torch with CUDA", command)
    built, driver = _numbers(build.cuda), _numbers(cuda_driver)
    if driver and built[:1] > driver[:1]:
        reason = f"torch {build.version} needs a driver for CUDA {built[0]}, and this one supports {cuda_driver}"
        return GpuProblem(reason, "install a newer NVIDIA driver, or a torch for this driver", command)
    if capability is None:
        return None
    here = "{}.{}".format(*capability)
    if (capability < _CUDA_13_FROM and built >= (13,)) or (capability > _CUDA_126_UP_TO and built < _BLACKWELL_CUDA):
        reason = f"torch {build.version} has no kernels for compute capability {here} ({gpu})"
        return GpuProblem(reason, "install a torch build that has them", command)
    return None


def install_command(capability: tuple[int, int] | None, cuda_driver: str) -> str:
    """The command that installs torch for this GPU and driver; empty where a newer driver is needed first."""
    driver = _numbers(cuda_driver)
    old_gpu = capability is not None and capability < _CUDA_13_FROM
    new_gpu = capability is not None and capability > _CUDA_126_UP_TO
    if driver and driver < (12,):
        return ""
    if not old_gpu and (not driver or driver >= (13,)):
        wheel = "cu130"
    elif not new_gpu:
        wheel = "cu126"
    elif driver >= _BLACKWELL_CUDA:
        wheel = "cu128"
    else:
        return ""
    return f"pip install --force-reinstall torch torchvision --index-url {_INDEX}/{wheel}"


def wheel_index(version: str) -> str:
    """pip's ``--index-url`` option for wheels like torch `version`, with a leading blank; empty for PyPI's own."""
    tag = _tag(version)
    return f" --index-url {_INDEX}/{tag}" if tag else ""


def torchvision_problem(build: TorchBuild, needs: str) -> str:
    """Why torchvision, whose requirement for torch is `needs`, does not fit torch; empty if it fits."""
    if not build.torchvision:
        return "torchvision is not installed"
    if needs and not _satisfies(build.version, needs):
        return f"torchvision {build.torchvision} needs torch {needs}, but {build.version} is installed"
    torch_tag, vision_tag = (_tag(version) for version in (build.version, build.torchvision))
    if torch_tag and vision_tag and torch_tag != vision_tag:
        return f"torchvision {build.torchvision} and torch {build.version} are built for different devices"
    return ""


def _tag(version: str) -> str:
    """``cpu`` or ``cu132``; empty for builds without such a tag."""
    tag = version.partition("+")[2]
    return tag if re.fullmatch(r"cpu|cu\d+|rocm[\d.]+", tag) else ""


def _satisfies(version: str, specifiers: str) -> bool:
    here = _numbers(version.partition("+")[0])
    for specifier in specifiers.split(","):
        match = re.fullmatch(r"(==|>=|<=|!=|<|>|~=)([\d.]+)(\.\*)?", specifier)
        if match is None or not here:
            continue
        wanted = _numbers(match[2])
        size = len(wanted) if match[1] in ("==", "!=") and match[3] else max(len(wanted), len(here))
        first, second = _padded(here, size), _padded(wanted, size)
        holds = {
            "==": first == second,
            "!=": first != second,
            ">=": first >= second,
            "<=": first <= second,
            "<": first < second,
            ">": first > second,
            "~=": first >= second and here[: len(wanted) - 1] == wanted[:-1],
        }
        if not holds[match[1]]:
            return False
    return True


def _padded(numbers: tuple[int, ...], size: int) -> tuple[int, ...]:
    return (*numbers, *(0 for _ in range(size)))[:size]


def _numbers(version: str) -> tuple[int, ...]:
    """``"12.8"`` → (12, 8); empty for text that is not a version."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
