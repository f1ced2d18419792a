"""Resume a run: from which checkpoint, with which changed settings, and in which run directory.

From the last checkpoint a run continues in its own directory and record. From an earlier one it becomes a new run, so
that nothing of the first is overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import engine_choice, global_batch, settings
from gputrain.engine.configuration.config_file import read_config, read_config_with_notes
from gputrain.engine.configuration.resume_changes import check_changes
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.launching import launch
from gputrain.engine.launching.kept_changes import KEPT
from gputrain.engine.launching.launch import PlanRecord, read_plan
from gputrain.engine.planning.model_preflight import WEIGHTS, ModelPlan, plan_model, with_model_layer
from gputrain.engine.planning.plan import DEFAULT, Plan, make_plan
from gputrain.engine.planning.plan_draft import SettingsLayer
from gputrain.engine.runs.run_directory import RunDir, RunInfo, State, Status
from gputrain.engine.slurm import queue_state, slurm_commands

LAST = "last"
_KEPT_WORKER_SHARE = 4.0
"""Workers per usable core up to which a num_workers kept by live tuning is not reduced; hints never advise more."""
_EXTENDS = ("epochs", "max_steps", "early_stop")
"""Settings that extend a finished run."""


def plan_from_run(
    run: RunDir,
    overrides: Mapping[str, Any],
    machine: Machine,
    warnings: Iterable[str] = (),
    *,
    from_scratch: bool = False,
) -> Plan:
    """The plan of `run` on this machine, with `overrides` and `warnings`; settings keep their origins.

    `from_scratch`: the plan of a new run, for which model and weights are checked. Raises BadInput where the run's
    configuration can't be read.
    """
    saved, renamed = read_config_with_notes(run.config)
    config, origins = settings.flatten(saved), read_plan(run).origins
    # Kept by live tuning: may be more workers than a plan would start with.
    kept_values = {name: config[name] for name in config if origins.get(name, "").startswith(KEPT)}
    layers = [SettingsLayer(run.config.name, config), SettingsLayer(KEPT, kept_values, worker_share=_KEPT_WORKER_SHARE)]
    if config["device"] == "cpu" and "devices" not in overrides:
        # Several ranks on a CPU are always the user's wish: they stay.
        layers.append(SettingsLayer(run.config.name, {"devices": config["devices"]}, own=True))
    if not config["global_batch_size"] and (global_batch.rank_count(config) > 1 or {"devices", "hosts"} & {*overrides}):
        # Other devices divide the same images.
        layers.append(SettingsLayer("the run", {"global_batch_size": global_batch.product(config)}))
    layers.append(SettingsLayer("you", dict(overrides), own=True))
    of_model = ModelPlan()
    if from_scratch:
        of_model, layers = _with_weights(layers, config, origins, overrides)
    notes = (*renamed, *warnings, *of_model.warnings)
    plan = make_plan(layers, machine, None, None, notes, of_model.refusals, (), of_model.forceable, of_model.facts)
    now = settings.flatten(plan.config)
    kept = {n: origin for n, origin in origins.items() if n in now and now[n] == config[n]}
    return msgspec.structs.replace(plan, origins={**plan.origins, **kept})


def _with_weights(
    layers: list[SettingsLayer], config: Mapping[str, Any], origins: Mapping[str, str], overrides: Mapping[str, Any]
) -> tuple[ModelPlan, list[SettingsLayer]]:
    """Check model and weights. With other ones, the settings that came from the old weights are chosen again."""
    own = {settings.find(name).name: settings.check(settings.find(name), value) for name, value in overrides.items()}
    other = any(name in own and own[name] != config[name] for name in ("model", "weights"))
    stale = [name for name, origin in origins.items() if other and origin == WEIGHTS and name in config]
    defaults = settings.flatten(RunConfig())
    reset = SettingsLayer(DEFAULT, {name: defaults[name] for name in stale})
    found = plan_model({**config, **reset.values, **own}, {*config, *own} - {*stale} | {*own})
    return found, with_model_layer([*layers[:-1], reset, layers[-1]], found)


def resume(run: RunDir, plan: Plan, wanted: str = LAST, *, force: bool = False) -> tuple[RunDir, list[str]]:
    """Resume `run` with `plan` (from `plan_from_run`) at the checkpoint `wanted` (``last``, ``best`` or a step).

    Returns the resumed run, which is a new one unless `wanted` is the last step, and notes on changed settings.
    `force` ignores memory estimates. Raises BadInput, RuntimeError if the supervisor does not come up.
    """
    engine_choice.require(plan.config)
    before = read_config(run.config)
    notes = check_changes(settings.flatten(before), settings.flatten(plan.config))
    entry = _find(run, settings.changed(before, plan.config), wanted)
    # The trainer records these notes itself, after comparing with the checkpoint.
    warnings = (*plan.adjustments, *plan.warnings, *plan.overruled(force=force))
    if entry is None:
        notes.append("there is no checkpoint yet: the run starts from the beginning")
    elif wanted != LAST and entry.step != checkpoint_index.find(run.checkpoints, LAST).step:
        config = settings.replace(plan.config, resume_from=str(run.checkpoints / entry.file))
        return launch.launch(config, plan.origins, warnings, plan.forecast), notes
    launch.write_settings(run, plan.config, PlanRecord(plan.origins, warnings, plan.forecast))
    launch.start(run, resume=True)
    return run, notes


def is_complete(run: RunDir, plan: Plan, wanted: str = LAST) -> bool:
    """Whether `run` is finished and `plan` does not extend it: `resume` would refuse it."""
    return _finished(run.status(), settings.changed(read_config(run.config), plan.config), wanted)


def _finished(status: Status | None, changed: Iterable[str], wanted: str) -> bool:
    finished = status is not None and status.state is State.FINISHED
    return wanted == LAST and finished and not any(name in _EXTENDS for name in changed)


def resume_config(run: RunDir, config: RunConfig) -> RunConfig:
    """`config` with `resume_from` set to the run's own newest checkpoint; unchanged if it has none yet."""
    if not checkpoint_index.read_index(run.checkpoints):
        return config
    return settings.replace(config, resume_from=str(run.directory))


def begin(plan: Plan, *, force: bool = False) -> RunDir:
    """Start a new run with `plan`; `force` ignores memory estimates.

    Raises BadInput, RuntimeError if the supervisor does not come up.
    """
    run = prepare(plan, force=force)
    launch.start(run)
    return run


def prepare(plan: Plan, *, force: bool = False) -> RunDir:
    """Make the directory of a new run with `plan`, and start nothing; `force` ignores memory estimates.

    Raises BadInput.
    """
    warnings = (*plan.adjustments, *plan.warnings, *plan.overruled(force=force))
    config = plan.config
    if any(text.startswith("weights:") for text in plan.forceable):
        config = settings.replace(config, weights_strict=False)
    return launch.prepare(config, plan.origins, warnings, plan.forecast)


def _find(run: RunDir, changed: Iterable[str], wanted: str) -> checkpoint_index.CheckpointEntry | None:
    """The checkpoint to resume from; None: the run has none. Raises BadInput."""
    if run.is_live():
        raise BadInput(f"{run.id} is still running; watch it with: gputrain-tui tail {run.id}")
    (info,) = queue_state.with_queue([RunInfo(run, run.status())], slurm_commands.job_states)
    status = info.status
    if status is not None and status.state is State.QUEUED:
        raise BadInput(f"{run.id} waits for {status.reason}; cancel that first: gputrain-tui stop {run.id}")
    if _finished(status, changed, wanted):
        raise BadInput(f"{run.id} is finished: {status.reason if status else ''}; to train longer, set epochs=N")
    if wanted == LAST and not checkpoint_index.read_index(run.checkpoints):
        return None
    try:
        return checkpoint_index.find(run.checkpoints, wanted)
    except BadInput as error:
        raise BadInput(f"{run.id}: {error}") from None
