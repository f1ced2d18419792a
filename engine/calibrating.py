"""A calibration is taken: by a child process, as measuring needs torch."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
from msgspec import Struct

from gputrain.engine import durations, engines
from gputrain.engine.calibration import Calibration, signature
from gputrain.engine.calibrationstore import machine_key
from gputrain.engine.check.storage import measure_storage
from gputrain.engine.childwork import Started, Tell, ask
from gputrain.engine.config import RunConfig
from gputrain.engine.machine import Machine
from gputrain.engine.settings import flatten

SECONDS = 40.0
"""How long is measured, beside importing torch, scanning the data and building the model."""


class Order(Struct, frozen=True):
    """What the child is asked for."""

    config: RunConfig
    seconds: float
    machine: str
    usable_cores: float
    settings: dict[str, object]
    disk_rate: float | None


def calibrate(
    config: RunConfig,
    machine: Machine,
    *,
    seconds: float = SECONDS,
    tell: Tell,
    started: Started = lambda _end: None,
) -> Calibration:
    """Measure `config` on this machine for about `seconds`, without its cache, whose effect the forecast knows.

    `tell` hears what is being done, `started` how to end it.
    Raises BadInput where the data or the settings cannot be used, RuntimeError where measuring fails.
    """
    engines.torch_alone(config, "a calibration")
    began, disk_rate = time.monotonic(), None
    if config.data.data_dir:
        tell("reading files")
        disk_rate = measure_storage(Path(config.data.data_dir)).read_rate
    settings = signature(flatten(config))
    uncached = msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, cache="none"))
    order = Order(uncached, seconds, machine_key(machine), machine.usable_cores, settings, disk_rate)
    made = ask("gputrain.engine.training.calibrate", order, Calibration, tell, started)
    durations.remember(_key(config, seconds), time.monotonic() - began)
    return made


def probable_seconds(config: RunConfig, seconds: float = SECONDS) -> float | None:
    """How long `calibrate` took for this recipe the last time, all in all; None if it was never done here."""
    before = durations.recall(_key(config, seconds))
    return before.seconds if before is not None else None


def _key(config: RunConfig, seconds: float) -> str:
    return f"calibrate {config.recipe} {config.data.data_dir} {seconds:g}"
