"""How a person left the dashboard, for the command that had opened it."""

from __future__ import annotations

from msgspec import Struct

from gputrain.engine.errors import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_FINISHED, EXIT_KILLED, EXIT_STOPPED
from gputrain.engine.events import Outcome, RunEnded
from gputrain.tui.snapshot import Snapshot
from gputrain.tui.widgets.panel import View

_BAD_INPUT = "BadInput: "
_CODES = {
    Outcome.FINISHED: EXIT_FINISHED,
    Outcome.STOPPED: EXIT_STOPPED,
    Outcome.FAILED: EXIT_FAILED,
    Outcome.KILLED: EXIT_KILLED,
}


class Leaving(Struct, frozen=True):
    """What became of the run when the person left."""

    run_id: str
    detached: bool
    """The run goes on."""
    exit_code: int
    now: Snapshot
    """What was known last."""

    @property
    def farewell(self) -> str:
        """A line to print below the screen that is gone."""
        if self.detached:
            return f"run {self.run_id} goes on; come back with: gputrain-tui tail {self.run_id}"
        if self.now.outcome is None:
            return f"run {self.run_id}: its supervisor is gone without a word"
        return f"run {self.run_id} {self.now.outcome.outcome}: {self.now.outcome.reason}"


def exit_code(ended: RunEnded | None) -> int:
    """The exit code of a run's end; one without a word was killed. Bad input that only the trainer could find has
    its own code."""
    if ended is None:
        return EXIT_KILLED
    if ended.error.startswith(_BAD_INPUT):
        return EXIT_BAD_INPUT
    return _CODES[ended.outcome]


def leaving(run_id: str, view: View, detached: bool) -> Leaving:
    """How the run stands that `view` shows. Detaching is no failure."""
    code = EXIT_FINISHED if detached else exit_code(view.now.outcome)
    return Leaving(run_id, detached, code, view.now)
