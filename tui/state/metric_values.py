"""The present value of each figure in a snapshot; None where it could not be measured. Pure."""

from __future__ import annotations

from gputrain.engine.events import GpuSample, HardwareSample
from gputrain.tui.state.run_snapshot import Snapshot


def wait(now: Snapshot) -> float | None:
    """Share of the step time without a batch."""
    return now.shares.data_wait if now.shares else None


def copy(now: Snapshot) -> float | None:
    """Share of the step time in copies to the GPU."""
    return now.shares.copy if now.shares else None


def compute(now: Snapshot) -> float | None:
    """Share of the step time in forward, backward and update."""
    return now.shares.compute if now.shares else None


def mfu(now: Snapshot) -> float | None:
    """Model FLOPs utilization, 0…1: useful operations a second over what the device computes at best."""
    model = now.model
    if model is None or model.flops_per_image is None or model.peak_flops is None or now.images_per_second is None:
        return None
    size = now.steps.image_size if now.steps else None
    # Under progressive resizing: a convolution's operations are as many as the pixels.
    pixels = (size / model.image_size) ** 2 if size and model.image_size else 1.0
    return now.images_per_second / model.ranks * model.flops_per_image * pixels / model.peak_flops


def other(now: Snapshot) -> float | None:
    """Share of the step time in everything else."""
    return now.shares.other if now.shares else None


def exchange(now: Snapshot) -> float | None:
    """Share of the step time in waiting for the gradients of other ranks."""
    return now.shares.exchange if now.shares else None


def of_gpu(one: GpuSample, key: str) -> float | None:
    """What the metric `key` (``gpu``, ``vram``, ``temperature``) is of one GPU."""
    if key == "vram":
        return one.memory_used / one.memory_total * 100 if one.memory_used is not None and one.memory_total else None
    return one.utilization if key == "gpu" else one.temperature


def of_gpus(sample: HardwareSample, key: str) -> list[float]:
    """The same of all GPUs that can be read."""
    return [value for one in sample.gpus if (value := of_gpu(one, key)) is not None]


def gpu(now: Snapshot) -> float | None:
    """Mean utilization of the GPUs that can be read, in percent."""
    read = of_gpus(now.hardware, "gpu") if now.hardware else []
    return sum(read) / len(read) if read else None


def vram(now: Snapshot) -> float | None:
    """Fill of the fullest GPU, in percent."""
    return max(of_gpus(now.hardware, "vram"), default=None) if now.hardware else None


def cpu(now: Snapshot) -> float | None:
    """Use of the usable cores, in percent."""
    return now.hardware.cpu_percent if now.hardware else None


def ram(now: Snapshot) -> float | None:
    """Memory that is not available, in percent."""
    sample = now.hardware
    if sample is None or not sample.ram_total or sample.ram_available is None:
        return None
    return (1 - sample.ram_available / sample.ram_total) * 100


def disk_read(now: Snapshot) -> float | None:
    """Bytes per second from all disks."""
    return now.hardware.disk.read_rate if now.hardware and now.hardware.disk else None


def disk_write(now: Snapshot) -> float | None:
    """Bytes per second to all disks."""
    return now.hardware.disk.write_rate if now.hardware and now.hardware.disk else None


def power(now: Snapshot) -> float | None:
    """Watts of all GPUs."""
    read = [g.power for g in now.hardware.gpus if g.power is not None] if now.hardware else []
    return sum(read) if read else None


def busy(now: Snapshot) -> float | None:
    """Share of the workers' time spent on samples."""
    return now.loader.busy if now.loader else None


def lr(now: Snapshot) -> float | None:
    """Learning rate of the newest step."""
    return now.steps.lr if now.steps else None
