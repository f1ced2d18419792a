"""What the runs screen does with runs. Each call may take seconds; all raise BadInput, OSError or RuntimeError."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gputrain.engine import launch, pruning, resuming, settings
from gputrain.engine.commands import Stop
from gputrain.engine.machine import inspect_machine
from gputrain.engine.marks import mark, read_marks
from gputrain.engine.runs import RunDir
from gputrain.tui import comparing
from gputrain.tui.commander import sender
from gputrain.tui.commands.compare import comparison


def _changes(text: str) -> dict[str, Any]:
    """``lr=0.1 epochs=5`` as values by name. Raises BadInput."""
    return dict(settings.parse_override(word) for word in text.split())


def stop(run: RunDir) -> str:
    """Ask `run` to end after a checkpoint."""
    attachment = launch.attach(run)
    try:
        attachment.send(Stop(checkpoint=True, sender=sender()))
    finally:
        attachment.close()
    return f"{run.id} was asked to stop after a checkpoint"


def resume(run: RunDir, changes: str) -> str:
    """Go on with `run` from its last checkpoint."""
    plan = resuming.plan_again(run, _changes(changes), inspect_machine())
    goes_on, told = resuming.resume(run, plan)
    return "; ".join((f"{goes_on.id} goes on", *told))


def clone(run: RunDir, changes: str) -> str:
    """Start a new run with the settings of `run`."""
    plan = resuming.plan_again(run, {"resume_from": "", **_changes(changes)}, inspect_machine())
    started = resuming.begin(plan)
    return f"{started.id} was started"


def delete(chosen: Sequence[RunDir]) -> str:
    """Remove runs with all their files."""
    for run in chosen:
        pruning.delete(run)
    return f"{len(chosen)} runs deleted" if len(chosen) > 1 else f"{chosen[0].id} deleted"


def compare(chosen: Sequence[RunDir]) -> list[str]:
    """Runs beside each other, as lines."""
    return list(comparison([comparing.look_at(run) for run in chosen]))


def rename(run: RunDir, name: str) -> str:
    """Give `run` a name; an empty one takes it away."""
    given = mark(run, name=name).name
    return f"{run.id} is called {given}" if given else f"{run.id} has no name"


def note(run: RunDir, text: str) -> str:
    """Give `run` a note."""
    mark(run, note=text)
    return f"noted for {run.id}"


def tag(run: RunDir, text: str) -> str:
    """Let `run` have exactly the tags in `text`."""
    wanted = text.split()
    marks = mark(run, add=wanted, remove=[one for one in read_marks(run).tags if one not in wanted])
    return f"{run.id}: {' '.join(marks.tags) or 'no tags'}"
