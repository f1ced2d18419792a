"""The system check over the launcher: findings as they come, and above them at last the verdict and advice."""

from __future__ import annotations

from collections.abc import Callable

from gputrain.engine.check import report
from gputrain.engine.check.examine import Tell
from gputrain.tui.checking import Checked
from gputrain.tui.checklines import end_lines, finding_lines
from gputrain.tui.lines import EMPTY, Line, line
from gputrain.tui.screens.work import WorkScreen
from gputrain.tui.theme import Palette

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
        self._found: list[report.Line] = []
        self._checked: Checked | None = None

    def work(self) -> Checked:
        """The check."""
        return self._check(self.tell)

    def hear(self, news: list[report.Line]) -> None:
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
