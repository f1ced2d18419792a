"""Calibration job: measures a recipe's speed on this machine in a child process, which imports torch."""

from __future__ import annotations

import time

import msgspec
from msgspec import Struct

from gputrain.engine.check.storage_check import measure_storage
from gputrain.engine.common import past_durations
from gputrain.engine.common.remote_urls import local_folder
from gputrain.engine.configuration import engine_choice
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.configuration.settings import flatten
from gputrain.engine.estimates.calibration import Calibration, signature
from gputrain.engine.estimates.calibration_store import machine_key
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.processes.child_job import OnStarted, ProgressCallback, run_job

SECONDS = 40.0
"""Duration of the measurement in seconds, without importing torch, scanning the data and building the model."""


class CalibrationOrder(Struct, frozen=True):
    """The child's input."""

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
    tell: ProgressCallback,
    started: OnStarted = lambda _end: None,
) -> Calibration:
    """Measure `config` on this machine for about `seconds`, without its cache, whose effect the forecast computes.

    `tell` gets progress messages, `started` a function that ends the child.
    Raises BadInput where the data or the settings cannot be used, RuntimeError where measuring fails.
    """
    engine_choice.require_torch_engine(config, "a calibration")
    began, disk_rate = time.monotonic(), None
    if config.data.data_dir:
        tell("reading files")
        disk_rate = measure_storage(local_folder(config.data.data_dir)).read_rate
    settings = signature(flatten(config))
    uncached = msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, cache="none"))
    order = CalibrationOrder(uncached, seconds, machine_key(machine), machine.usable_cores, settings, disk_rate)
    made = run_job("gputrain.engine.training.benchmark.calibrate_child", order, Calibration, tell, started)
    past_durations.remember(_key(config, seconds), time.monotonic() - began)
    return made


def probable_seconds(config: RunConfig, seconds: float = SECONDS) -> float | None:
    """Total seconds that `calibrate` took for this recipe the last time; None if it never ran here."""
    before = past_durations.recall(_key(config, seconds))
    return before.seconds if before is not None else None


def _key(config: RunConfig, seconds: float) -> str:
    return f"calibrate {config.recipe} {config.data.data_dir} {seconds:g}"
