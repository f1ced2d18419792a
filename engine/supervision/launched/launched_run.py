"""A run whose ranks a launcher started: ``torchrun … -m gputrain.engine CONFIG``, srun, MPI or Kubernetes.

Rank 0 is the supervisor, with the record; its trainer is a child. The others train in the processes that the launcher
started. The launcher decides about restarts: `auto_resume` and `max_restarts` are off.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common.errors import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_FINISHED, EXIT_PREEMPTED, BadInput
from gputrain.engine.configuration import global_batch, settings
from gputrain.engine.configuration.config_file import read_config_with_notes
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import Outcome
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.launching.launch import PlanRecord, write_settings
from gputrain.engine.node_check.meeting_host import require_reachable
from gputrain.engine.planning import device_rules
from gputrain.engine.planning.plan import make_plan
from gputrain.engine.planning.plan_draft import SettingsLayer
from gputrain.engine.processes.rank_environment import RankInfo, rank_info
from gputrain.engine.processes.rank_processes import watch_parent
from gputrain.engine.runs import run_directory, run_names
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.supervision import trainer_main
from gputrain.engine.supervision.supervisor import Supervisor
from gputrain.engine.supervision.trainer_process import TrainerProcess

CONTINUE = "--continue"
"""Option of the command: go on from the newest checkpoint of the runs of the same name, if there is one."""


def train(file: Path, environ: Mapping[str, str], *, goes_on: bool = False) -> int:
    """Train as this process's rank with the settings in `file`; `goes_on`: see `CONTINUE`.

    Returns the exit code. Raises BadInput.
    """
    info = rank_info(environ)
    if info is None:
        raise BadInput(
            f"{file}: no launcher has set RANK and WORLD_SIZE; without torchrun, srun or MPI start the run with: "
            "gputrain-tui train devices=N"
        )
    require_reachable(info, environ)
    if info.rank:
        # Rank 0 hands its settings to the others, so that all have the same.
        trainer_main.follow_launched(info)
    return _lead(file, info, goes_on=goes_on)


def _lead(file: Path, info: RankInfo, *, goes_on: bool) -> int:
    config, record = planned(file, info)
    if goes_on:
        config = _continued(file, config)
    run = run_directory.create(config.name or config.recipe or "run")
    write_settings(run, config, record)
    if not run.own():
        raise BadInput(f"{run.id} already has a supervisor")
    print(f"rank 0 of {info.count} ({info.launcher}): {run.id}; watch it with: gputrain-tui tail {run.id}", flush=True)
    return supervise(run, config, info)


def _continued(file: Path, config: RunConfig) -> RunConfig:
    """The settings, with `resume_from` of the newest run of the same name that has a checkpoint. Raises BadInput."""
    if not config.name:
        raise BadInput(f"{file}: {CONTINUE} finds the run to go on with by its name: set name")
    before = (run for run in run_directory.directories() if run_names.given_name(run.directory) == config.name)
    found = next((run for run in before if checkpoint_index.read_index(run.checkpoints)), None)
    return config if found is None else settings.replace(config, resume_from=str(found.directory))


def supervise(run: RunDir, config: RunConfig, info: RankInfo | None, *, resume: bool = False) -> int:
    """Supervise `run`, whose lock this process has, as rank 0 of a launcher; None: there is no other rank.

    `resume`: go on from its newest checkpoint. Returns the exit code.
    """
    supervisor = Supervisor(
        run, config, resume=resume, start_child=lambda c, on_event: TrainerProcess(run, c, on_event, info)
    )
    supervisor.install_signals()
    watch_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    supervisor.main()
    return _exit_code(supervisor, run)


def _exit_code(supervisor: Supervisor, run: RunDir) -> int:
    ended = supervisor.ended
    if ended is None or ended.outcome in (Outcome.FAILED, Outcome.KILLED):
        print(f"{run.id}: {ended.reason if ended else 'it has no end'}", flush=True)
        return EXIT_BAD_INPUT if ended is not None and ended.error.startswith("BadInput") else EXIT_FAILED
    return EXIT_PREEMPTED if ended.preempted else EXIT_FINISHED


def planned(file: Path, info: RankInfo | None) -> tuple[RunConfig, PlanRecord]:
    """The settings in `file` for these ranks (None: one) on this machine, and what the plan says. Raises BadInput."""
    count = info.count if info else 1
    asked, notes = read_config_with_notes(file)
    values = settings.flatten(asked)
    total = values["global_batch_size"]
    # As for one GPU: each rank has one of its own, perhaps on another machine.
    layer = SettingsLayer(file.name, {**values, "devices": 1, "global_batch_size": 0})
    plan = make_plan([layer], inspect_machine(), warnings=notes)
    if plan.refuses:
        raise BadInput(f"{file}: {'; '.join(plan.refuses)}")
    config = settings.replace(plan.config, devices=count, global_batch_size=total)
    if info is not None:
        config = settings.replace(config, auto_resume=False, max_restarts=0)
    if total and global_batch.product(settings.flatten(config)) != total:
        size = config.data.batch_size
        if total % (count * size):
            size, steps = global_batch.divide(total, count, size)
        else:
            steps = total // (count * size)
        config = settings.replace(config, batch_size=size, accumulation_steps=steps)
    warnings = [*plan.adjustments, *plan.warnings]
    if config.distributed.sharding == "full":
        if refused := device_rules.refused_with_sharding(settings.flatten(config)):
            raise BadInput(f"{file}: {'; '.join(refused)}")
        changes = device_rules.off_with_sharding(settings.flatten(config))
        config = settings.replace(config, **{name: value for name, (value, _) in changes.items()})
        warnings += [f"{name}: {why}" for name, (_, why) in changes.items()]
    origins = {**plan.origins, **({"devices": info.launcher} if info else {})}
    return config, msgspec.structs.replace(PlanRecord(), origins=origins, warnings=tuple(warnings))
