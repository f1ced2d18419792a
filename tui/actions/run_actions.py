"""The actions of the runs screen. Each may take seconds and may raise BadInput, OSError or RuntimeError."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.launching import launch, launch_script, resume_run
from gputrain.engine.runs import prune_runs
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.runs.run_labels import read_marks, write_marks
from gputrain.engine.user_script.script_command import has_command, read_command
from gputrain.tui.actions import compare_runs
from gputrain.tui.actions.compare_runs import Compared
from gputrain.tui.actions.export_curves import write_curves
from gputrain.tui.state import read_record
from gputrain.tui.state.command_sender import sender

_FROM = "from="


def _changes(text: str) -> dict[str, Any]:
    """``lr=0.1 epochs=5`` as values by name. Raises BadInput."""
    return dict(settings.parse_override(word) for word in text.split())


def stop(run: RunDir) -> str:
    """Ask `run` to stop after a checkpoint, or a script to end. Returns a message, as all actions here do."""
    attachment = launch.attach(run)
    try:
        attachment.send(StopCommand(checkpoint=True, sender=sender()))
    finally:
        attachment.close()
    return f"{run.id} was asked to stop{' by SIGINT' if has_command(run) else ' after a checkpoint'}"


def command_of(run: RunDir) -> str:
    """The command line of a run that is a script of the user's own; empty for others. Raises BadInput."""
    return shlex.join(read_command(run).argv) if has_command(run) else ""


def _no_settings(run: RunDir, text: str) -> None:
    if text:
        raise BadInput(f"{run.id} is a script of your own: it has no settings to change; start it by exec")


def checkpoints_of(run: RunDir) -> str:
    """The checkpoints of `run` as text."""
    entries = checkpoint_index.read_index(run.checkpoints)
    if not entries:
        return "It has no checkpoint yet: it would start from the beginning."
    steps = ", ".join(str(step) for step in sorted({entry.step for entry in entries}))
    best = next((entry.step for entry in entries if entry.best), None)
    best_step = f"; the best is step {best}" if best is not None else ""
    return f"Checkpoints at step {steps}{best_step}. The last one continues this run; any other starts a new run."


def resume(run: RunDir, text: str) -> str:
    """Resume `run`; `text` names the checkpoint and the settings to override: ``from=best lr=0.01``."""
    if has_command(run):
        _no_settings(run, text)
        launch_script.start_again(run)
        return f"{run.id} runs again"
    words = text.split()
    wanted = [word.removeprefix(_FROM) for word in words if word.startswith(_FROM)]
    changes = " ".join(word for word in words if not word.startswith(_FROM))
    plan = resume_run.plan_from_run(run, _changes(changes), inspect_machine())
    resumed, notes = resume_run.resume(run, plan, wanted[-1] if wanted else resume_run.LAST)
    return "; ".join((f"{resumed.id} continues", *notes))


def clone(run: RunDir, changes: str) -> str:
    """Start a new run with the settings of `run`, some overridden by `changes`."""
    if has_command(run):
        _no_settings(run, changes)
        return f"started {launch_script.clone(run).id}"
    plan = resume_run.plan_from_run(run, {"resume_from": "", **_changes(changes)}, inspect_machine())
    started = resume_run.begin(plan)
    return f"started {started.id}"


def delete(runs: Sequence[RunDir]) -> str:
    """Delete runs with all their files."""
    for run in runs:
        prune_runs.delete(run)
    return f"{len(runs)} runs deleted" if len(runs) > 1 else f"{runs[0].id} deleted"


def compare(runs: Sequence[RunDir]) -> list[Compared]:
    """Read the runs for a comparison."""
    return [compare_runs.read_compared(run) for run in runs]


def export(run: RunDir, file: str) -> str:
    """Write the curves of `run` to `file`; a relative path is relative to the current folder."""
    path = files.expand_user(file)
    if not file:
        raise BadInput("no file name given: it must end in .csv, .png, .svg or .pdf")
    write_curves(read_record.read_snapshot(run), path)
    return f"written: {path.resolve()}"


def rename(run: RunDir, name: str) -> str:
    """Name `run`; an empty name removes it."""
    given = write_marks(run, name=name).name
    return f"{run.id} is now named {given}" if given else f"{run.id} has no name"


def note(run: RunDir, text: str) -> str:
    """Set the note of `run`."""
    write_marks(run, note=text)
    return f"note saved for {run.id}"


def tag(run: RunDir, text: str) -> str:
    """Set the tags of `run` to the words of `text`."""
    wanted = text.split()
    marks = write_marks(run, add=wanted, remove=[one for one in read_marks(run).tags if one not in wanted])
    return f"{run.id}: {' '.join(marks.tags) or 'no tags'}"
