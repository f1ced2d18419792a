"""Fake machines: one without a GPU, and the same with one."""

from __future__ import annotations

from msgspec.structs import replace

from gputrain.engine.common.units import GIB
from gputrain.engine.hardware.machine import GpuInfo, Machine

NO_GPU = Machine(
    hostname="here",
    usable_cores=8.0,
    host_cores=64,
    cpu_model="Some CPU",
    memory_total=64 * GIB,
    memory_limit=62 * GIB,
    memory_available=59 * GIB,
    shm_total=31 * GIB,
    gpus=(),
    gpu_error="no NVIDIA driver",
    driver="",
)


def with_gpu(
    name: str,
    gib: float | None,
    capability: tuple[int, int] | None,
    cores: float = 16.0,
    used: float = 0.0,
    unified: bool = False,
) -> Machine:
    """The machine with `cores` usable cores and one GPU of `gib` memory (None: unknown), `used` GiB of it in use."""
    memory = None if gib is None else int(gib * GIB)
    card = GpuInfo(
        index=0,
        uuid="GPU-1",
        name=name,
        memory=memory,
        memory_used=int(used * GIB),
        capability=capability,
        unified=unified,
    )
    return replace(NO_GPU, usable_cores=cores, gpus=(card,), gpu_error="", driver="580.1")
