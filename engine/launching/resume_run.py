"""Going on with a run: from which checkpoint, with which changed settings, and in which directory.

From its last checkpoint a run goes on where it is, in its own record. From an earlier one it becomes a new run, so
that nothing of the first is overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import engine_choice, settings
from gputrain.engine.configuration.config_file import read_config
from gputrain.engine.configuration.resume_changes import check_changes
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.launching import launch
from gputrain.engine.launching.kept_changes import KEPT
from gputrain.engine.launching.launch import PlanRecord, read_plan
from gputrain.engine.planning.plan import Plan, make_plan
from gputrain.engine.planning.plan_draft import SettingsLayer
from gputrain.engine.runs.run_directory import RunDir, State

LAST = "last"
_MEASURED_SHARE = 4.0
"""Workers for each usable core up to which those that were kept in the run are not cut: what is ever advised."""
_EXTENDS = ("epochs", "max_steps", "early_stop")
"""What makes a finished run longer."""


def plan_from_run(run: RunDir, overrides: Mapping[str, Any], machine: Machine) -> Plan:
    """The plan of `run` on this machine, with `overrides`; settings keep their origins.

    Raises BadInput where its configuration can't be read.
    """
    config, origins = settings.flatten(read_config(run.config)), read_plan(run).origins
    # Workers that have shown their worth may be more than a plan would start with.
    measured = {name: config[name] for name in config if origins.get(name, "").startswith(KEPT)}
    layers = [SettingsLayer(run.config.name, config), SettingsLayer(KEPT, measured, worker_share=_MEASURED_SHARE)]
    plan = make_plan([*layers, SettingsLayer("you", dict(overrides), own=True)], machine)
    now = settings.flatten(plan.config)
    kept = {n: origin for n, origin in origins.items() if n in now and now[n] == config[n]}
    return msgspec.structs.replace(plan, origins={**plan.origins, **kept})


def resume(run: RunDir, plan: Plan, wanted: str = LAST, *, force: bool = False) -> tuple[RunDir, list[str]]:
    """Go on with `run` under `plan` (`plan_from_run`), from the checkpoint `wanted` (``last``, ``best`` or a step).

    Returns the run that goes on, which is a new one unless `wanted` is the last step, and what the changed settings do
    to it. `force` overrules estimates of memory. Raises BadInput, RuntimeError if the supervisor does not come up.
    """
    engine_choice.require(plan.config)
    before = read_config(run.config)
    told = check_changes(settings.flatten(before), settings.flatten(plan.config))
    entry = _find(run, settings.changed(before, plan.config), wanted)
    # What the changes do is told in the record by the trainer, which compares with the checkpoint itself.
    warnings = (*plan.adjustments, *plan.warnings, *plan.overruled(force=force))
    if entry is None:
        told.append("there is no checkpoint yet: the run begins again")
    elif wanted != LAST and entry.step != checkpoint_index.find(run.checkpoints, LAST).step:
        config = settings.replace(plan.config, resume_from=str(run.checkpoints / entry.file))
        return launch.launch(config, plan.origins, warnings, plan.forecast), told
    launch.write_settings(run, plan.config, PlanRecord(plan.origins, warnings, plan.forecast))
    launch.start(run, resume=True)
    return run, told


def resume_config(run: RunDir, config: RunConfig) -> RunConfig:
    """`config` from the run's own newest checkpoint on; where it has none yet, as it began."""
    if not checkpoint_index.read_index(run.checkpoints):
        return config
    return settings.replace(config, resume_from=str(run.directory))


def begin(plan: Plan, *, force: bool = False) -> RunDir:
    """Start a new run under `plan`; `force` overrules estimates of memory.

    Raises BadInput, RuntimeError if the supervisor does not come up.
    """
    warnings = (*plan.adjustments, *plan.warnings, *plan.overruled(force=force))
    config = plan.config
    if any(text.startswith("weights:") for text in plan.forceable):
        config = settings.replace(config, weights_strict=False)
    return launch.launch(config, plan.origins, warnings, plan.forecast)


def _find(run: RunDir, changed: Iterable[str], wanted: str) -> checkpoint_index.Entry | None:
    """The checkpoint to go on from; None: the run never got to its first one. Raises BadInput."""
    if run.is_live():
        raise BadInput(f"{run.id} is still running; watch it with: gputrain-tui tail {run.id}")
    status = run.status()
    finished = status is not None and status.state is State.FINISHED
    if wanted == LAST and finished and not any(name in _EXTENDS for name in changed):
        raise BadInput(f"{run.id} is finished: {status.reason if status else ''}; to train on, ask for more epochs=N")
    if wanted == LAST and not checkpoint_index.read_index(run.checkpoints):
        return None
    try:
        return checkpoint_index.find(run.checkpoints, wanted)
    except BadInput as error:
        raise BadInput(f"{run.id}: {error}") from None
