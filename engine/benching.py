"""A configuration's speed for a fixed number of steps after warm-up, measured in a child process."""

from __future__ import annotations

from msgspec import Struct

from gputrain.engine.childwork import Tell, ask
from gputrain.engine.config import RunConfig

STEPS = 40
WARM_UP = 8
CACHED_AT_MOST = 50_000
"""Images that a cache is filled with before it is measured; more take too long to read for a benchmark."""


class BenchOrder(Struct, frozen=True):
    """What the child is asked for."""

    config: RunConfig
    steps: int
    warm_up: int


class Speed(Struct, frozen=True, kw_only=True):
    """What the child measured."""

    images_per_second: float
    spread: float
    """Twice the standard error over windows of a second."""
    steps: int
    wait_share: float
    """Share of the time in which the step waited for data."""
    gpu_percent: float | None
    """Mean utilization as NVML tells it; None without a GPU."""
    peak_bytes: int | None
    """The GPU's memory, or on the CPU the process's; None: the kernel does not tell."""
    precision: str
    """What the device computed in."""
    note: str = ""


def measure_speed(config: RunConfig, tell: Tell, steps: int = STEPS, warm_up: int = WARM_UP) -> Speed:
    """Train `config` for `warm_up` and then `steps` steps at a learning rate of 0, and time the latter.

    Raises BadInput where the data or the settings cannot be used, RuntimeError where training fails.
    """
    order = BenchOrder(config, steps, warm_up)
    return ask("gputrain.engine.training.benchrung", order, Speed, tell)
