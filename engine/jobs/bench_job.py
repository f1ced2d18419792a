"""Benchmark job: the speed of a configuration over a fixed number of steps, measured in a child process."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from gputrain.engine.configuration import engine_choice
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.processes.child_job import Started, Tell, run_job

STEPS = 40
WARM_UP = 8
CACHED_AT_MOST = 50_000
"""Most images that fill a cache before it is measured; more take too long to read for a benchmark."""


class BenchOrder(Struct, frozen=True):
    """The child's input."""

    config: RunConfig
    steps: int
    warm_up: int


class Speed(Struct, frozen=True, kw_only=True):
    """The child's measurement."""

    images_per_second: float
    spread: float
    """Twice the standard error over windows of 1 s; for several measurements at least half their range."""
    steps: int
    wait_share: float
    """Share of the time in which the step waited for data."""
    gpu_percent: float | None
    """Mean GPU utilization by NVML; None without a GPU."""
    peak_bytes: int | None
    """Peak memory of the GPU, or on the CPU of the process; None: not reported."""
    precision: str
    """The precision of the computation."""
    note: str = ""
    others: float | None = None
    """Cores used by other programs during the measurement; None: not reported."""


def merge_speeds(speeds: Sequence[Speed]) -> Speed:
    """Merge several measurements of one configuration: the mean time per image, and the largest spread."""
    rates = [speed.images_per_second for speed in speeds]
    within = statistics.fmean(speed.spread for speed in speeds)
    gpu = [speed.gpu_percent for speed in speeds if speed.gpu_percent is not None]
    return msgspec.structs.replace(
        speeds[0],
        images_per_second=statistics.harmonic_mean(rates),
        spread=max(within, (max(rates) - min(rates)) / 2),
        steps=sum(speed.steps for speed in speeds),
        wait_share=statistics.fmean(speed.wait_share for speed in speeds),
        gpu_percent=statistics.fmean(gpu) if gpu else None,
        peak_bytes=max((s.peak_bytes for s in speeds if s.peak_bytes is not None), default=None),
        others=max((s.others for s in speeds if s.others is not None), default=None),
    )


def measure_speed(
    config: RunConfig,
    tell: Tell,
    steps: int = STEPS,
    warm_up: int = WARM_UP,
    started: Started = lambda _end: None,
) -> Speed:
    """Train `config` for `warm_up` and then `steps` steps at a learning rate of 0, and time the latter.

    `started` hears how to end it. Raises BadInput where the data or the settings cannot be used, RuntimeError where
    training fails.
    """
    engine_choice.require_torch_engine(config, "the benchmark")
    order = BenchOrder(config, steps, warm_up)
    return run_job("gputrain.engine.training.benchmark.bench_child", order, Speed, tell, started)
