"""The system check over the launcher: findings as they come, and above them at last the verdict and advice."""

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
"""Does the check; may take half a minute."""


class CheckScreen(WorkScreen[None]):
    """Closes on Escape at any time; the check then ends by itself."""

    NAME = "check"
    HEADING = "System check"
    CLOSING = "Escape closes"
    SECONDS = None

    def __init__(self, check: Check, palette: Palette, ascii_only: bool) -> None:
        super().__init__(palette, ascii_only)
        self._check = check
        self._found: list[findings.Line] = []
        self._checked: Checked | None = None

    def work(self) -> Checked:
        """The check."""
        return self._check(self.tell)

    def hear(self, news: list[findings.Line]) -> None:
        """Some findings."""
        self._found += news

    def take(self, made: Checked) -> None:
        """The verdict."""
        self._checked = made

    def result(self) -> None:
        """Nothing."""

    def lines(self, columns: int) -> list[Line]:
        """The verdict over the findings."""
        rows: list[Line] = finding_lines(self._found, columns)
        if self._checked is not None:
            return [*end_lines(self._checked, columns), *rows]
        if self._error:
            return [*rows, EMPTY, line((f"■ {self._error}", "bad"))]
        return [*rows, EMPTY, line(("○ checking; the speed test takes some seconds…", "data"))]
