"""Plausible events of a scripted run."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gputrain.engine.diagnosis.decision_tree import evaluate
from gputrain.engine.diagnosis.windows.event_window import EventWindow
from gputrain.engine.events import (
    AnyEvent,
    CheckpointSaved,
    DataReady,
    DiskSample,
    EpochEnded,
    GpuSample,
    HardwareSample,
    Hint,
    HintsChanged,
    LoaderStats,
    LogLine,
    ModelReady,
    Outcome,
    Phase,
    PhaseChanged,
    RunEnded,
    RunStarted,
    Steps,
    Validated,
    stamp,
)
from gputrain.engine.hardware.nvml import in_words

GIB = 1 << 30
_JUDGED = 30
"""Seconds of training that the advice rests on."""
EPOCH_STEPS = 400
"""Twenty seconds of them, after which the epoch is validated and saved."""
WALL = 1_790_000_000.0
"""When scripted runs begin, by the wall clock."""
SETTINGS = {
    "recipe": "resnet50-imagefolder",
    "profile": "rtx-3090-24gb",
    "preset": "balanced",
    "name": "",
    "epochs": 50,
    "batch_size": 256,
    "num_workers": 8,
    "prefetch_factor": 4,
    "accumulation_steps": 1,
    "cache": "none",
    "val_split": "val",
    "model": "resnet50",
}


class Script:
    """Numbers and times events as a supervisor would."""

    def __init__(self) -> None:
        self.seq = 0
        self.mono = 100.0

    def at(self, event: AnyEvent, later: float = 0.0) -> AnyEvent:
        """The event, `later` seconds after the one before."""
        self.seq += 1
        self.mono += later
        return stamp(event, self.seq, WALL + self.mono - 100.0, self.mono)


def start(gpus: int = 1, settings: dict[str, object] | None = None) -> list[AnyEvent]:
    """Everything before the first step, unstamped."""
    return [
        RunStarted(
            run_id="20261120-213000-resnet50-imagefolder",
            settings={**SETTINGS, **(settings or {})},
            host="atlas",
            pid=4321,
            gpus=("NVIDIA GeForce RTX 3090",) * gpus,
            usable_cores=16,
        ),
        PhaseChanged(phase=Phase.IMPORTING),
        PhaseChanged(phase=Phase.SCANNING_DATA, done=51_200, total=102_400, unit="images"),
        DataReady(
            dataset="imagefolder",
            path="/data/birds",
            train_images=EPOCH_STEPS * 256,
            val_images=5_000,
            classes=("tench", "goldfish"),
            class_count=100,
            batches_per_epoch=EPOCH_STEPS,
            seconds=4.2,
        ),
        ModelReady(
            model="resnet50",
            parameters=25_557_032,
            device="cuda:0" if gpus else "cpu",
            device_name="NVIDIA GeForce RTX 3090" if gpus else "AMD Ryzen 9 5950X",
            precision="fp16" if gpus else "bf16",
            channels_last=True,
            compiled=gpus > 0,
            optimizer="sgd",
            total_steps=50 * EPOCH_STEPS,
            total_updates=50 * EPOCH_STEPS,
            flops_per_image=24.3e9,
            peak_flops=71.2e12 if gpus else None,
        ),
        PhaseChanged(phase=Phase.TRAINING),
    ]


def steps(number: int, gpu: bool = True, seconds: float = 0.1, rate: float | None = None) -> Steps:
    """The `number`-th window of steps, from 0."""
    done = (number + 1) * 2
    speed = rate if rate is not None else 1184 + 60 * math.sin(number / 17) + 25 * math.sin(number / 3)
    return Steps(
        step=done,
        epoch=(done - 1) // EPOCH_STEPS,
        epoch_step=(done - 1) % EPOCH_STEPS + 1,
        images=done * 256,
        window_steps=2,
        window_seconds=seconds,
        images_per_second=speed,
        loss=6.9 * math.exp(-number / 900) + 0.6 + 0.08 * math.sin(number / 5),
        lr=0.1,
        data_wait=seconds * 0.27,
        copy=seconds * 0.03 if gpu else None,
        compute=seconds * (0.68 if gpu else 0.71),
        other=seconds * 0.02,
        queue_depth=7 + 3 * math.sin(number / 11),
        queue_capacity=24,
        vram_peak=17 * GIB if gpu else None,
        bytes_copied=int(1.1e9 * seconds) if gpu else None,
    )


def loader(seconds: float = 1.0) -> LoaderStats:
    """What the workers say."""
    return LoaderStats(
        workers=8,
        kind="processes",
        seconds=seconds,
        samples=1184,
        busy=0.96,
        cpu_ratio=0.91,
        run_delay=0.02,
        read_share=0.05,
        bytes_read=int(212e6 * seconds),
        disk_bytes=int(31e6 * seconds),
        lock_share=0.02,
        slowest=0.019,
    )


def gpu(index: int, number: int, name: str = "NVIDIA GeForce RTX 3090") -> GpuSample:
    """One GPU that is well."""
    return GpuSample(
        index=index,
        uuid=f"GPU-{index}",
        name=name,
        utilization=round(71 + 14 * math.sin(number / 6 + index)),
        memory_used=int((17.2 + index * 0.3) * GIB),
        memory_total=24 * GIB,
        power=round(282 + 30 * math.sin(number / 5 + index)),
        power_limit=350,
        temperature=round(67 + 4 * math.sin(number / 40 + index)),
        fan=45,
        sm_clock=1695,
        sm_clock_max=2100,
        pcie_rx=1.1e9,
        pcie_tx=12e6,
        throttle=("power cap",) if number % 7 == 0 else (),
    )


def hardware(number: int, gpus: int = 1, lost: int | None = None) -> HardwareSample:
    """The machine at second `number`."""
    found = tuple(
        GpuSample(index=i, name="NVIDIA GeForce RTX 3090", error=in_words(15)) if i == lost else gpu(i, number)
        for i in range(gpus)
    )
    return HardwareSample(
        interval=1.0,
        cpu_percent=88 + 3 * math.sin(number / 7),
        per_core=tuple(88 + 10 * math.sin(number + core * 1.7) for core in range(16)),
        usable_cores=16,
        host_cores=16,
        load_1m=14.2,
        cpu_frequency=4100,
        run_cpu=13.6 + 0.4 * math.sin(number / 7),
        foreign_cpu=0.2,
        ram_total=64 * GIB,
        ram_available=int((34 - 2 * math.sin(number / 50)) * GIB),
        ram_used=27 * GIB,
        ram_cached=21 * GIB,
        swap_used=0,
        run_rss=19 * GIB,
        shm_used=2 * GIB,
        shm_total=32 * GIB,
        disk=DiskSample(
            read_rate=31e6 + 5e6 * math.sin(number / 4),
            write_rate=1.2e6,
            read_iops=412,
            write_iops=31,
            device="nvme0n1",
            device_read_rate=31e6,
            device_busy=0.12,
        ),
        psi_cpu=0.08,
        psi_io=0.01,
        psi_memory=0.0,
        gpus=found,
        gpu_error="" if gpus else "no NVIDIA driver",
    )


def training(seconds: int, gpus: int = 1, first: int = 0, per_second: int = 10) -> Iterator[tuple[AnyEvent, float]]:
    """Seconds of training as (event, seconds after the one before), from second `first` on."""
    for second in range(first, first + seconds):
        for part in range(per_second):
            yield steps(second * per_second + part, gpu=gpus > 0, seconds=1 / per_second), 1 / per_second
        yield loader(), 0.0
        yield hardware(second, gpus), 0.0
        if second == 3:
            yield HintsChanged(hints=HINTS[gpus > 0]), 0.0
        if second % 20 == 19:
            epoch = second // 20
            step = (epoch + 1) * EPOCH_STEPS
            yield EpochEnded(epoch=epoch, step=step, seconds=20, images_per_second=1184, train_loss=2.1), 0.0
            yield validated(epoch), 0.0
            yield checkpoint(epoch), 0.0
        if second % 9 == 5:
            yield LogLine(text=f"second {second}: the trainer prints a line"), 0.0


def advised(
    gpus: int = 1, sample: HardwareSample | None = None, workers: LoaderStats | None = None
) -> tuple[Hint, ...]:
    """What the diagnosis says of the run, with the machine and the workers as they are told here."""
    window = EventWindow()
    script = Script()
    for event in start(gpus):
        window.feed(script.at(event))
    for second in range(_JUDGED):
        for part in range(10):
            window.feed(script.at(steps(second * 10 + part, gpu=gpus > 0), 0.1))
        window.feed(script.at(workers or loader()))
        window.feed(script.at(sample or hardware(second, gpus)))
    signals = window.signals()
    assert signals is not None
    return tuple(evaluate(signals).values())


HINTS = {gpus > 0: advised(gpus) for gpus in (0, 1)}
"""Of the run on the CPU and on GPUs."""
(HINT,) = HINTS[True]


def validated(epoch: int, best: bool = True) -> Validated:
    """A validation that gets better with the epochs."""
    return Validated(
        epoch=epoch,
        step=(epoch + 1) * EPOCH_STEPS,
        metrics={"loss": 2.4 / (epoch + 1) + 0.4, "accuracy": 0.76 * (1 - math.exp(-(epoch + 1) / 4))},
        metric="accuracy",
        best=best,
        images=5_000,
        seconds=2.1,
    )


def checkpoint(epoch: int) -> CheckpointSaved:
    """A checkpoint after an epoch."""
    name, step = f"epoch-{epoch:04d}.pt", (epoch + 1) * EPOCH_STEPS
    return CheckpointSaved(kind="last", file=name, step=step, epoch=epoch, bytes=205_000_000, seconds=0.8)


def finished() -> RunEnded:
    """A good end."""
    return RunEnded(outcome=Outcome.FINISHED, reason="all 50 epochs are done", exit_code=0, step=50 * EPOCH_STEPS)


def whole_run(seconds: int = 30, gpus: int = 1) -> list[AnyEvent]:
    """A stamped run from start to end."""
    script = Script()
    events = [script.at(event, 0.5) for event in start(gpus)]
    events += [script.at(event, later) for event, later in training(seconds, gpus)]
    return [*events, script.at(finished(), 0.1)]
