"""How the user left the dashboard of a run, for the command that opened it."""

from __future__ import annotations

from msgspec import Struct

from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.tui.cli.exit_codes import exit_code
from gputrain.tui.render import format as fmt
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.widgets.panel import View


class QuitResult(Struct, frozen=True):
    """State of the run when the dashboard closed."""

    run_id: str
    detached: bool
    """The run continues."""
    exit_code: int
    now: Snapshot
    """The last snapshot."""

    @property
    def exit_message(self) -> str:
        """A line to print after the screen closed."""
        if self.detached:
            return fmt.run_continues(self.run_id)
        if self.now.outcome is None:
            return fmt.supervisor_died(self.run_id)
        return f"run {self.run_id} {fmt.end(self.now.outcome.outcome.value, self.now.outcome.reason)}"


def quit_result(run_id: str, view: View, detached: bool) -> QuitResult:
    """The result for the run in `view`. Detaching gives exit code 0."""
    code = EXIT_FINISHED if detached else exit_code(view.now.outcome)
    return QuitResult(run_id, detached, code, view.now)
