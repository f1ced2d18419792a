"""``gputrain-tui train --slurm OPTIONS``: plans a run for a Slurm job, shows and submits its batch script."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import msgspec

from gputrain.engine.common.errors import EXIT_BAD_INPUT, EXIT_FINISHED, BadInput
from gputrain.engine.common.files import write_atomic
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.launching import launch, resume_run
from gputrain.engine.planning.plan import Plan
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.slurm import job_file, queue_state, slurm_commands, slurm_options
from gputrain.engine.slurm.batch_script import batch_script
from gputrain.engine.slurm.job_file import SlurmJob
from gputrain.engine.slurm.slurm_commands import SlurmError
from gputrain.engine.slurm.slurm_options import SlurmOptions
from gputrain.profiles.job_machine import job_machine
from gputrain.tui.actions.plan_from_arguments import plan_of
from gputrain.tui.commands.launch.print_plan import print_plan
from gputrain.tui.commands.runs.watch import watch
from gputrain.tui.commands.runs.watch_signals import StopSignals

_EXAMPLE_RUN = Path("RUN_DIRECTORY")


def run(options: argparse.Namespace) -> int:
    """Returns 0 once the job is submitted and the run was watched or detached; with ``--dry-run`` 0 if it would be
    submitted, else 2. Raises BadInput."""
    plan, asked = _plan(options)
    stays = plan.stands(force=options.force)
    if options.dry_run:
        _dry_run(plan, asked, options)
        return EXIT_BAD_INPUT if stays else EXIT_FINISHED
    if not options.json:
        for warning in (*plan.adjustments, *plan.warnings, *plan.overruled(force=options.force)):
            print(f"plan: {plain(warning)}", file=sys.stderr)
    queued, number = _submit(plan, asked, options)
    if options.detach:
        print(queued.id)
        return EXIT_FINISHED
    if not options.json:
        print((queued.directory / job_file.SCRIPT).read_text())
        print(f"submitted as Slurm job {number}: {queued.id}; watch it with: gputrain-tui tail {queued.id}", flush=True)
    with StopSignals(owner=False) as signals:
        return watch(launch.attach(queued), options, signals)


def _plan(options: argparse.Namespace) -> tuple[Plan, SlurmOptions]:
    """The plan for the job's GPUs, and the job's options with all that the plan has chosen. Raises BadInput."""
    if options.calibrate:
        raise BadInput("--slurm plans for other machines: it excludes --calibrate")
    asked = slurm_options.parse(options.slurm)
    given, _ = settings.parse_overrides(options.overrides)
    if any(settings.find(name).name == "devices" for name in given):
        raise BadInput("devices: with --slurm it is nodes × gpus-per-node of the job; leave it out")
    if (options.machine or "").count(","):
        raise BadInput("--machine: with --slurm it is a profile alone; cores and RAM are those of the job")
    nodes = slurm_commands.partition_nodes(asked.partition)
    job = job_machine(asked, nodes, inspect_machine(), options.machine or "")
    words = [*options.overrides, f"devices={job.options.ranks}"]
    if not asked.gpus_per_node and "device" not in given:
        words.append("device=cpu")
    profile = options.profile or (None if options.config else job.profile or None)
    planned = argparse.Namespace(**{**vars(options), "overrides": words, "profile": profile})
    return plan_of(planned, job.machine), job.options


def _dry_run(plan: Plan, asked: SlurmOptions, options: argparse.Namespace) -> None:
    script = batch_script(_EXAMPLE_RUN, plan.config.name or plan.config.recipe, asked, sys.executable)
    if options.json:
        print(msgspec.json.encode({"plan": plan, "slurm_script": script}).decode())
        return
    print_plan(plan, options)
    print("\nbatch script (slurm.sh in the run directory):\n")
    print(script, end="")


def _submit(plan: Plan, asked: SlurmOptions, options: argparse.Namespace) -> tuple[RunDir, int]:
    """Make the run directory and submit its job. Returns the run and the job's id. Raises BadInput."""
    if shutil.which("sbatch") is None:
        raise BadInput("--slurm: sbatch is not installed here; use --dry-run to see the script, or a login node")
    queued = resume_run.prepare(plan, force=options.force)
    config = plan.config
    script = queued.directory / job_file.SCRIPT
    job = SlurmJob(number=0, ranks=asked.ranks, asked=options.slurm)
    try:
        text = batch_script(queued.directory, config.name or queued.id, asked, sys.executable)
        write_atomic(script, text.encode(), 0o700)
        job_file.write_job(queued, job)
        queued.write_status(queue_state.new_status(config.name, config.recipe, config.profile))
        number = slurm_commands.submit(script)
        # The job may have started already, and noted itself.
        if (now := job_file.read_job(queued)) is None or not now.number:
            job_file.write_job(queued, msgspec.structs.replace(job, number=number))
    except SlurmError as error:
        shutil.rmtree(queued.directory, ignore_errors=True)
        raise BadInput(f"--slurm: nothing was submitted: {plain(str(error), 500)}") from None
    except OSError as error:
        raise BadInput(f"{queued.directory}: cannot be written: {error.strerror}") from None
    return queued, number
