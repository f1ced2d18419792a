"""The current value of each metric in a snapshot; None if it was not measured. Pure."""

from __future__ import annotations

from gputrain.engine.events import GpuSample, HardwareSample
from gputrain.tui.state.run_snapshot import Snapshot


def wait(now: Snapshot) -> float | None:
    """Share of the step time spent waiting for a batch."""
    return now.shares.data_wait if now.shares else None


def copy(now: Snapshot) -> float | None:
    """Share of the step time spent copying to the GPU."""
    return now.shares.copy if now.shares else None


def compute(now: Snapshot) -> float | None:
    """Share of the step time in forward, backward and update."""
    return now.shares.compute if now.shares else None


def mfu(now: Snapshot) -> float | None:
    """Model FLOPs utilization, 0…1: achieved FLOP/s over the peak FLOP/s of the device."""
    model = now.model
    if model is None or model.flops_per_image is None or model.peak_flops is None or now.images_per_second is None:
        return None
    size = now.steps.image_size if now.steps else None
    # With progressive resizing: the operations of a convolution grow with the number of pixels.
    pixels = (size / model.image_size) ** 2 if size and model.image_size else 1.0
    return now.images_per_second / model.ranks * model.flops_per_image * pixels / model.peak_flops


def other(now: Snapshot) -> float | None:
    """Share of the step time spent on everything else."""
    return now.shares.other if now.shares else None


def exchange(now: Snapshot) -> float | None:
    """Share of the step time spent waiting for the gradients of other ranks."""
    return now.shares.exchange if now.shares else None


def of_gpu(one: GpuSample, key: str) -> float | None:
    """The metric `key` (``gpu``, ``vram`` or ``temperature``) of one GPU; percent or °C."""
    if key == "vram":
        return one.memory_used / one.memory_total * 100 if one.memory_used is not None and one.memory_total else None
    return one.utilization if key == "gpu" else one.temperature


def of_gpus(sample: HardwareSample, key: str) -> list[float]:
    """The metric `key` of each GPU that can be read."""
    return [value for one in sample.gpus if (value := of_gpu(one, key)) is not None]


def gpu(now: Snapshot) -> float | None:
    """Mean utilization of the GPUs that can be read, in percent."""
    read = of_gpus(now.hardware, "gpu") if now.hardware else []
    return sum(read) / len(read) if read else None


def vram(now: Snapshot) -> float | None:
    """Memory use of the GPU with the highest share, in percent."""
    return max(of_gpus(now.hardware, "vram"), default=None) if now.hardware else None


def cpu(now: Snapshot) -> float | None:
    """Use of the usable cores, in percent."""
    return now.hardware.cpu_percent if now.hardware else None


def ram(now: Snapshot) -> float | None:
    """Used RAM (all that is not available), in percent."""
    sample = now.hardware
    if sample is None or not sample.ram_total or sample.ram_available is None:
        return None
    return (1 - sample.ram_available / sample.ram_total) * 100


def disk_read(now: Snapshot) -> float | None:
    """Bytes per second read from all disks."""
    return now.hardware.disk.read_rate if now.hardware and now.hardware.disk else None


def disk_write(now: Snapshot) -> float | None:
    """Bytes per second written to all disks."""
    return now.hardware.disk.write_rate if now.hardware and now.hardware.disk else None


def power(now: Snapshot) -> float | None:
    """Watts of all GPUs."""
    read = [g.power for g in now.hardware.gpus if g.power is not None] if now.hardware else []
    return sum(read) if read else None


def busy(now: Snapshot) -> float | None:
    """Share of the workers' time spent loading samples."""
    return now.loader.busy if now.loader else None


def lr(now: Snapshot) -> float | None:
    """Learning rate of the newest step."""
    return now.steps.lr if now.steps else None
