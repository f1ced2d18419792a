"""How a person left the dashboard, for the command that had opened it."""

from __future__ import annotations

from msgspec import Struct

from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.tui.cli.exit_codes import exit_code
from gputrain.tui.render import format as fmt
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.widgets.panel import View


class QuitResult(Struct, frozen=True):
    """What became of the run when the person left."""

    run_id: str
    detached: bool
    """The run goes on."""
    exit_code: int
    now: Snapshot
    """What was known last."""

    @property
    def exit_message(self) -> str:
        """A line to print below the screen that is gone."""
        if self.detached:
            return f"run {self.run_id} goes on; come back with: gputrain-tui tail {self.run_id}"
        if self.now.outcome is None:
            return f"run {self.run_id}: its supervisor is gone without a word"
        return f"run {self.run_id} {fmt.end(self.now.outcome.outcome.value, self.now.outcome.reason)}"


def quit_result(run_id: str, view: View, detached: bool) -> QuitResult:
    """How the run stands that `view` shows. Detaching is no failure."""
    code = EXIT_FINISHED if detached else exit_code(view.now.outcome)
    return QuitResult(run_id, detached, code, view.now)
