"""Scripted events of a run that is a script of the user's own."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from gputrain.engine.events import (
    AnyEvent,
    HardwareSample,
    LoaderFound,
    LoaderStats,
    Phase,
    PhaseChanged,
    RunStarted,
    ScriptModel,
    Steps,
)

LOADER = LoaderFound(
    mono=2.0,
    file="/home/me/my_train.py",
    line=41,
    kind="torch.utils.data.dataloader.DataLoader",
    passes=1,
    num_workers=0,
    prefetch_factor=None,
    persistent_workers=False,
    pin_memory=False,
    batch_size=16,
    batches=1500,
    order_kept=True,
    iterable=False,
)


def started(loader: LoaderFound | None = LOADER, cores: float = 8.0) -> list[AnyEvent]:
    """The events before the first step; `loader` None: the script reads no DataLoader."""
    settings = {"engine": "script", "recipe": "script", "name": "mine", "command": "python my_train.py", "folder": "/h"}
    return [
        RunStarted(mono=1.0, run_id="r", settings=settings, usable_cores=cores),
        *([loader] if loader is not None else []),
        ScriptModel(
            mono=3.0,
            optimizer="AdamW",
            parameters=2307,
            device="cpu",
            dtype="float32",
            torch_version="2.14.1",
            cuda_version="",
            trainer_pid=1,
        ),
        PhaseChanged(mono=10.0, phase=Phase.TRAINING),
    ]


STEPS = Steps(
    mono=11.0,
    step=500,
    epoch=0,
    epoch_step=500,
    images=8000,
    window_steps=10,
    window_seconds=1.0,
    images_per_second=160.0,
    unit="samples",
    loss=0.5,
    lr=0.1,
    data_wait=0.0,
    copy=None,
    compute=0.9,
    other=0.1,
)
NO_WORKERS = LoaderStats(
    mono=11.0,
    workers=1,
    kind="inline",
    seconds=1.0,
    samples=160,
    busy=0.9,
    cpu_ratio=0.95,
    run_delay=0.01,
    read_share=0.04,
    bytes_read=0,
    disk_bytes=0,
    lock_share=0.0,
)
WORKERS = replace(NO_WORKERS, workers=2, kind="processes", busy=0.97)


def second(at: float, wait: float, loader: LoaderStats | None, *, cpu: float = 20.0, **more: Any) -> list[AnyEvent]:
    """The events of one second of training; `more`: fields of the machine's sample."""
    hardware = {"usable_cores": 8.0, "run_cpu": 1.0, "foreign_cpu": 0.0, "ram_total": 100, "ram_available": 60, **more}
    found: list[AnyEvent] = [replace(STEPS, mono=at, data_wait=wait, compute=0.9 - wait if wait < 0.9 else 0.0)]
    if loader is not None:
        found.append(replace(loader, mono=at))
    return [*found, HardwareSample(mono=at, interval=1.0, cpu_percent=cpu, **hardware)]
