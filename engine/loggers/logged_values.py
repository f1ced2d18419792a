"""Converts events into values for loggers: named scalars over an axis, texts, and settings. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gputrain.engine import events
from gputrain.engine.events import (
    AnyEvent,
    EpochEnded,
    GpuSample,
    HardwareSample,
    HintsChanged,
    LoaderStats,
    ModelReady,
    Notice,
    RunEnded,
    RunStarted,
    Steps,
    Validated,
)

_GIB = 2**30
_MB = 10**6
_NOT_IN_A_TAG = re.compile(r"[^A-Za-z0-9_. /-]")
"""What MLflow does not take in the name of a metric."""


@dataclass(frozen=True, slots=True)
class Scalars:
    """Scalars of one moment by tag (``train/loss``). Values that were not measured are missing."""

    step: int
    """Training steps done."""
    seconds: float
    """Seconds since the run's start: the axis of hardware samples, several of which may fall into one step."""
    wall: float
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class Text:
    """A text at a training step."""

    tag: str
    step: int
    wall: float
    text: str


@dataclass(frozen=True, slots=True)
class Started:
    """The run started, or resumed in the same directory."""

    settings: Mapping[str, Any]
    wall: float


@dataclass(frozen=True, slots=True)
class RestartedFrom:
    """The run resumed from a checkpoint: steps from `step` on are repeated, and their values logged again."""

    step: int
    wall: float


Fact = Scalars | Text | Started | RestartedFrom


class EventValues:
    """Turns events into facts; keeps the current step and the start time."""

    def __init__(self) -> None:
        self._step = 0
        self._began: float | None = None

    def of(self, event: AnyEvent) -> Iterator[Fact]:
        """The facts of `event`."""
        if self._began is None:
            self._began = event.wall
        match event:
            case RunStarted():
                yield Started(event.settings, event.wall)
            case ModelReady():
                if event.start_step < self._step:
                    yield RestartedFrom(event.start_step + 1, event.wall)
                self._step = event.start_step
            case Steps():
                if event.step < self._step:
                    # A script that was started again, or trains once more, counts from 1.
                    yield RestartedFrom(event.step, event.wall)
                self._step = event.step
                yield self._scalars(event, _steps(event))
            case events.Scalars():
                yield self._scalars(event, {f"script/{_tag(name)}": value for name, value in event.values.items()})
            case EpochEnded():
                values = {"epoch/train_loss": event.train_loss, "epoch/images_per_second": event.images_per_second}
                yield self._scalars(event, values)
            case Validated():
                yield self._scalars(event, {f"val/{name}": value for name, value in event.metrics.items()})
            case LoaderStats():
                yield self._scalars(event, {"loader/busy": event.busy, "loader/workers": float(event.workers)})
            case HardwareSample():
                yield self._scalars(event, _machine(event))
            case HintsChanged() if event.hints:
                text = "\n\n".join(f"**{h.title}** ({h.severity}): {h.evidence} → {h.action}" for h in event.hints)
                yield Text("hints", self._step, event.wall, text)
            case Notice():
                yield Text("notices", self._step, event.wall, f"{event.level}: {event.text}")
            case RunEnded():
                yield Text("outcome", event.step, event.wall, f"{event.outcome.value}: {event.reason}")
            case _:
                pass

    def _scalars(self, event: AnyEvent, values: Mapping[str, float | None]) -> Scalars:
        known = {tag: float(value) for tag, value in values.items() if value is not None}
        return Scalars(self._step, max(0.0, event.wall - (self._began or event.wall)), event.wall, known)


def _steps(event: Steps) -> dict[str, float | None]:
    return {
        "train/loss": event.loss,
        "train/lr": event.lr,
        f"train/{event.unit}_per_second": event.images_per_second,
        "train/data_wait_share": event.data_wait / event.window_seconds if event.window_seconds else None,
        "train/grad_norm": event.grad_norm,
        "train/loss_scale": event.loss_scale,
        "train/epoch": float(event.epoch),
        "train/vram_peak_gib": _in(_GIB, event.vram_peak),
    }


def _tag(name: str) -> str:
    """The name that a script gave to a scalar, as all loggers take it."""
    parts = _NOT_IN_A_TAG.sub("_", name[:200]).split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "_"


def _machine(event: HardwareSample) -> dict[str, float | None]:
    disk = event.disk
    values = {
        "system/cpu_percent": event.cpu_percent,
        "system/run_cores": event.run_cpu,
        "system/ram_used_gib": _in(_GIB, event.ram_used),
        "system/run_rss_gib": _in(_GIB, event.run_rss),
        "system/disk_read_mb_per_second": _in(_MB, disk.read_rate) if disk else None,
        "system/disk_write_mb_per_second": _in(_MB, disk.write_rate) if disk else None,
    }
    for gpu in event.gpus:
        values |= _gpu(gpu)
    return values


def _gpu(gpu: GpuSample) -> dict[str, float | None]:
    name = f"gpu{gpu.index}"
    return {
        f"{name}/utilization_percent": gpu.utilization,
        f"{name}/memory_used_gib": _in(_GIB, gpu.memory_used),
        f"{name}/power_watts": gpu.power,
        f"{name}/temperature_celsius": gpu.temperature,
    }


def _in(unit: int, value: float | None) -> float | None:
    return None if value is None else value / unit
