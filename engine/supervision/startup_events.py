"""The first events that a supervisor writes when a run starts or resumes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gputrain.engine.common.version import VERSION
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import Notice, Phase, PhaseChanged, RunStarted
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.launching.launch import read_plan
from gputrain.engine.runs.run_directory import RunDir


def first_events(run: RunDir, config: RunConfig, machine: Machine) -> Iterator[RunStarted | Notice | PhaseChanged]:
    """`RunStarted` with settings, origins and machine, then the plan's warnings, then the phase."""
    plan = read_plan(run)
    started = run_started(run, machine, settings.flatten(config))
    yield msgspec.structs.replace(started, origins=plan.origins, forecast=plan.forecast)
    for warning in plan.warnings:
        yield Notice(level="warning", text=warning, source="plan")
    yield PhaseChanged(phase=Phase.STARTING)


def run_started(run: RunDir, machine: Machine, values: Mapping[str, Any]) -> RunStarted:
    """`RunStarted` of this process, with `values` as the settings."""
    return RunStarted(
        run_id=run.id,
        settings=dict(values),
        host=machine.hostname,
        pid=os.getpid(),
        boot_id=machine.boot_id,
        python=platform.python_version(),
        version=VERSION,
        gpus=tuple(gpu.name for gpu in machine.gpus),
        usable_cores=machine.usable_cores,
        memory_limit=machine.memory_limit,
    )
