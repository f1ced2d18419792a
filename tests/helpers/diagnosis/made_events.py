"""Scripted events of a run: two busy workers, and a GPU that waits for them."""

from __future__ import annotations

from typing import Any

from gputrain.engine.common.units import GIB
from gputrain.engine.events import (
    AnyEvent,
    GpuSample,
    HardwareSample,
    LoaderStats,
    ModelReady,
    Phase,
    PhaseChanged,
    RunStarted,
    Steps,
)


def started(device: str = "cuda:0") -> list[AnyEvent]:
    return [
        RunStarted(mono=1.0, run_id="r", settings={"num_workers": 2, "batch_size": 32}, usable_cores=16.0),
        ModelReady(
            mono=2.0,
            model="m",
            parameters=1,
            device=device,
            device_name="d",
            precision="bf16",
            channels_last=False,
            compiled=False,
            optimizer="sgd",
            total_steps=1,
            total_updates=1,
        ),
        PhaseChanged(mono=10.0, phase=Phase.TRAINING),
    ]


def second(at: float, wait: float = 0.4, utilization: float | None = 50.0, **more: Any) -> list[AnyEvent]:
    """The events of one second of training."""
    gpus = (
        GpuSample(index=0, cuda_index=1, utilization=100.0, memory_total=80 * GIB),
        GpuSample(index=1, cuda_index=0, utilization=utilization, memory_total=80 * GIB),
    )
    return [
        Steps(
            mono=at,
            step=1,
            epoch=0,
            epoch_step=1,
            images=1,
            window_steps=10,
            window_seconds=1.0,
            images_per_second=20.0,
            loss=1.0,
            lr=0.1,
            data_wait=wait,
            copy=0.01,
            compute=1.0 - wait,
            other=0.0,
            vram_peak=20 * GIB,
        ),
        LoaderStats(
            mono=at,
            workers=2,
            kind="threads",
            seconds=1.0,
            samples=20,
            busy=0.95,
            cpu_ratio=0.9,
            run_delay=0.0,
            read_share=0.1,
            bytes_read=1000,
            disk_bytes=500,
        ),
        HardwareSample(
            mono=at,
            interval=1.0,
            cpu_percent=more.pop("cpu", 25.0),
            usable_cores=16.0,
            run_cpu=4.0,
            foreign_cpu=0.0,
            ram_total=100,
            ram_available=60,
            run_rss=30,
            gpus=gpus,
            **more,
        ),
    ]
