"""The machine as a run may use it: cores, memory, GPUs. Without torch; never hangs."""

from __future__ import annotations

import math
import os
import platform
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from msgspec import Struct

from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.run_config import Precision
from gputrain.engine.hardware.cgroup import CGroup, Version, find_cgroup
from gputrain.engine.hardware.logout import logout_kills_processes
from gputrain.engine.hardware.nvml import NO_DRIVER, Device, Nvml, NvmlError, Unreadable, visible
from gputrain.engine.hardware.torch_build import TorchBuild, read_torch_build

SHM = Path("/dev") / "shm"
NVML_SECONDS = 15.0
"""Timeout for NVML to list the GPUs, in seconds: without persistence mode it wakes them one by one."""

_HIDING = "CUDA_VISIBLE_DEVICES"


class GpuInfo(Struct, frozen=True, kw_only=True):
    """A GPU, or a MIG instance of one, that this process may use."""

    index: int
    """NVML's number of the GPU (of the parent, for an instance)."""
    uuid: str
    name: str
    memory: int | None
    """Bytes of its memory; None where the driver doesn't say (memory shared with the CPU)."""
    memory_used: int = 0
    """Bytes in use by programs and the driver at that time."""
    capability: tuple[int, int] | None
    """CUDA compute capability, (8, 6)."""
    mig: bool = False
    """A MIG instance: NVML gives no utilization for it."""


class Machine(Struct, frozen=True, kw_only=True):
    """The host and the part of it that this process may use. Sizes are in bytes."""

    hostname: str
    usable_cores: float
    """min(affinity, cpuset, cgroup quota); may be a fraction."""
    host_cores: int
    cpu_model: str
    cpu_bf16: bool = False
    """The CPU multiplies bfloat16 natively."""
    memory_total: int
    """Memory of the host."""
    memory_limit: int
    """Memory that this process may use: the host's, or the tightest cgroup limit."""
    memory_available: int
    """Memory available now without swapping."""
    shm_total: int
    """Size of ``/dev/shm``; 0 where it does not exist."""
    shm_used: int = 0
    """Used bytes of ``/dev/shm``."""
    gpus: tuple[GpuInfo, ...]
    """In CUDA's order: the first is ``cuda:0``."""
    gpu_error: str
    """Why there is no GPU, or which one cannot be read; empty without a problem."""
    driver: str
    """Version of the NVIDIA driver, or empty."""
    cuda_driver: str = ""
    """Newest CUDA version that the driver supports (``13.0``), or empty."""
    cgroup: Version = "none"
    boot_id: str = ""
    """Changes with each boot, after which recorded pids and monotonic times are no longer valid."""
    container: str = ""
    """``docker``, ``podman``, ``kubernetes``, ``wsl`` …, or empty."""
    logout: str = ""
    """Why a run would end when its user logs out, and the remedy; empty if it would not."""
    torch: TorchBuild | None = None
    """The installed torch; None where there is none, or it was not read."""
    assumed: str = ""
    """Description of an assumed machine for a plan (``--machine``); empty for this machine."""

    @property
    def shm_free(self) -> int:
        """Bytes that can be written to ``/dev/shm``, where caches in memory are."""
        return max(0, self.shm_total - self.shm_used)


class _Gpus(Struct, frozen=True):
    gpus: tuple[GpuInfo, ...] = ()
    error: str = ""
    driver: str = ""
    cuda: str = ""


def inspect_machine() -> Machine:
    """Read this host's properties, in some milliseconds; with GPUs NVML's start takes up to `NVML_SECONDS`."""
    cgroup = find_cgroup()
    total, available = host_memory()
    limited = cgroup.memory_now()
    gpus = _ask_for_gpus(NVML_SECONDS)
    shm_total, shm_used = shm()
    return Machine(
        hostname=plain(socket.gethostname(), 80),
        usable_cores=usable_cores(cgroup),
        host_cores=os.cpu_count() or 1,
        cpu_model=cpu_model(),
        cpu_bf16=cpu_has_bf16(),
        memory_total=total,
        memory_limit=min(total, limited.limit) if limited else total,
        memory_available=min(available, limited.available) if limited else available,
        shm_total=shm_total,
        shm_used=shm_used,
        gpus=gpus.gpus,
        gpu_error=gpus.error,
        driver=gpus.driver,
        cuda_driver=gpus.cuda,
        cgroup=cgroup.version,
        boot_id=_first_line("/proc/sys/kernel/random/boot_id"),
        container=_container(),
        logout=logout_kills_processes(Path("/"), os.getuid()),
        torch=read_torch_build(),
    )


def unusable_gpu(machine: Machine) -> str:
    """Why a GPU that seems to exist cannot be used; empty if one can, or if none seems to exist."""
    return "" if machine.gpus or machine.gpu_error == NO_DRIVER else machine.gpu_error


def hides_gpus(machine: Machine) -> bool:
    """Whether the user's ``CUDA_VISIBLE_DEVICES`` is the reason for `unusable_gpu`."""
    return not machine.gpus and machine.gpu_error.startswith(_HIDING)


def usable_cores(cgroup: CGroup) -> float:
    """Cores that this process may use: min(affinity, cpuset, quota)."""
    limits = (float(len(os.sched_getaffinity(0))), cgroup.cpus() or math.inf, cgroup.quota() or math.inf)
    return round(min(limits), 2)


def host_memory() -> tuple[int, int]:
    """The host's memory and its available part, in bytes (MemTotal, MemAvailable)."""
    found: dict[str, int] = {}
    for line in Path("/proc/meminfo").read_text().splitlines()[:8]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    # Kernels before 3.14 have no MemAvailable; MemFree is a lower bound.
    return found["MemTotal"], found.get("MemAvailable", found["MemFree"])


def shm() -> tuple[int, int]:
    """Size and used bytes of ``/dev/shm``; (0, 0) where it does not exist."""
    try:
        status = os.statvfs(SHM)
    except OSError:
        return 0, 0
    return status.f_blocks * status.f_frsize, (status.f_blocks - status.f_bfree) * status.f_frsize


def _ask_for_gpus(seconds: float) -> _Gpus:
    answers: list[_Gpus] = []
    thread = threading.Thread(target=lambda: answers.append(_gpus()), name="nvml", daemon=True)
    thread.start()
    thread.join(seconds)
    # A thread that hangs in the driver cannot be ended; as a daemon it does not keep the process alive.
    return answers[0] if answers else _Gpus(error=f"NVML does not answer (waited {seconds:g} s)")


def _gpus() -> _Gpus:
    try:
        nvml = Nvml()
    except NvmlError as error:
        return _Gpus(error=str(error))
    try:
        driver, cuda = nvml.driver()
        found = nvml.devices()
        devices = [one for one in found if isinstance(one, Device)]
        shown = visible(devices, os.environ.get(_HIDING))
        gpus = tuple(_info(device, nvml.memory_used(device) or 0) for device in shown)
    except NvmlError as error:
        return _Gpus(error=str(error))
    finally:
        nvml.close()
    return _Gpus(gpus=gpus, error=_problem(found, devices, shown), driver=driver, cuda=cuda)


def _info(device: Device, used: int) -> GpuInfo:
    return GpuInfo(
        index=device.index,
        uuid=device.uuid,
        name=device.name,
        memory=device.memory,
        memory_used=used,
        capability=device.capability,
        mig=device.gpu_instance is not None,
    )


def _problem(found: list[Device | Unreadable], devices: list[Device], shown: list[Device]) -> str:
    lost = "; ".join(f"GPU {one.index}: {one.reason}" for one in found if isinstance(one, Unreadable))
    if shown or lost:
        return lost
    if not devices:
        return "the NVIDIA driver finds no GPU"
    if all(device.mig_mode and not device.instances for device in devices):
        return "MIG mode is on, but there are no instances"
    hidden = plain(os.environ.get(_HIDING, ""), 60)
    return f"{_HIDING}={hidden!r} hides {f'all {len(devices)} GPUs' if len(devices) > 1 else 'the GPU'}"


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 natively; elsewhere bf16 is emulated and slower than fp32."""
    found = _first_core()
    flags = (found.get("flags") or found.get("Features") or "").split()
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def cpu_precision(asked: Precision, notice: Callable[[str, str], None]) -> Literal["fp32", "fp16", "bf16"]:
    """The precision of a training on this CPU for the setting `precision`; calls `notice` with level and text for a
    change."""
    if asked == "fp16":
        notice("warning", "fp16 needs a GPU: bf16 used")
        return "bf16"
    if asked == "auto":
        return "bf16" if cpu_has_bf16() else "fp32"
    return asked


def cpu_model() -> str:
    """The CPU's model name."""
    found = _first_core()
    named = next((found[name] for name in ("model name", "Model", "cpu model") if name in found), platform.machine())
    return plain(" ".join(named.split()), 80)


def _first_core() -> dict[str, str]:
    """``/proc/cpuinfo`` of the first core; reading all of it asks each core for its frequency."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            head = file.read(8192)
    except OSError:
        return {}
    pairs = (line.partition(":") for line in head.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _container() -> str:
    if "microsoft" in _first_line("/proc/sys/kernel/osrelease").lower():
        return "wsl"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    for mark, name in (("/.dockerenv", "docker"), ("/run/.containerenv", "podman")):
        if Path(mark).exists():
            return name
    # systemd-nspawn, LXC and podman set this lower-case variable.
    return plain(os.environ.get("container", ""), 40)  # noqa: SIM112


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
