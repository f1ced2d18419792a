"""The system check dialog of the launcher: findings as they come, and at the end verdict and advice above them."""

from __future__ import annotations

from collections.abc import Callable

from gputrain.engine.check import findings
from gputrain.engine.check.system_check import Tell
from gputrain.tui.actions.check_lines import end_lines, finding_lines
from gputrain.tui.actions.run_check import Checked
from gputrain.tui.render.styled_lines import EMPTY, Line, line
from gputrain.tui.render.theme import Palette
from gputrain.tui.screens.launcher.work_dialog import WorkScreen

Check = Callable[[Tell], Checked]
"""Runs the check; may take half a minute."""


class CheckScreen(WorkScreen[None]):
    """Shows the check. Escape closes the dialog at any time; the check then finishes unseen."""

    NAME = "check"
    HEADING = "System check"
    CLOSING = "Escape: close"
    SECONDS = None

    def __init__(self, check: Check, palette: Palette, ascii_only: bool) -> None:
        super().__init__(palette, ascii_only)
        self._check = check
        self._found: list[findings.Line] = []
        self._checked: Checked | None = None

    def work(self) -> Checked:
        """Run the check."""
        return self._check(self.report)

    def handle_update(self, update: list[findings.Line]) -> None:
        """Take new findings."""
        self._found += update

    def handle_result(self, result: Checked) -> None:
        """Take the verdict."""
        self._checked = result

    def return_value(self) -> None:
        """Return nothing."""

    def lines(self, columns: int) -> list[Line]:
        """The verdict above the findings."""
        rows: list[Line] = finding_lines(self._found, columns)
        if self._checked is not None:
            return [*end_lines(self._checked, columns), *rows]
        if self._error:
            return [*rows, EMPTY, line((f"■ {self._error}", "bad"))]
        return [*rows, EMPTY, line(("○ checking; the speed test takes some seconds…", "data"))]
