"""The system check over the launcher: findings as they come, and above them at last the verdict and advice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

from gputrain.engine.check import report
from gputrain.engine.check.examine import Tell
from gputrain.tui.checking import Checked
from gputrain.tui.checklines import end_lines, finding_lines
from gputrain.tui.choosing import FAULTS, said
from gputrain.tui.lines import EMPTY, Line, line
from gputrain.tui.theme import Palette
from gputrain.tui.widgets.menu import as_text

Check = Callable[[Tell], Checked]
"""Does the check; may take half a minute."""


class CheckScreen(ModalScreen[None]):
    """Closes on Escape at any time; the check then ends by itself."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,f10", "close", "close"),
        Binding("ctrl+c", "close", show=False, priority=True),
    ]

    class Told(Message):
        """Some findings."""

        def __init__(self, found: list[report.Line]) -> None:
            super().__init__()
            self.found = found

    class Ended(Message):
        """The check is through, or failed with `error`."""

        def __init__(self, checked: Checked | None, error: str = "") -> None:
            super().__init__()
            self.checked = checked
            self.error = error

    def __init__(self, check: Check, palette: Palette, ascii_only: bool) -> None:
        super().__init__()
        self._check, self._palette, self._ascii = check, palette, ascii_only
        self._found: list[report.Line] = []
        self._checked: Checked | None = None
        self._error = ""

    def compose(self) -> ComposeResult:
        """One scrollable text."""
        with VerticalScroll(classes="dialog wide") as dialog:
            dialog.border_title = "System check"
            dialog.border_subtitle = "Escape closes"
            yield Static(id="findings", markup=False)

    def on_mount(self) -> None:
        """Begin."""
        self._show()
        threading.Thread(target=self._work, name="check", daemon=True).start()

    def _work(self) -> None:
        def tell(found: list[report.Line]) -> None:
            self.post_message(self.Told(found))

        try:
            checked = self._check(tell)
        except FAULTS as error:
            self.post_message(self.Ended(None, said(error)))
        else:
            self.post_message(self.Ended(checked))

    def on_check_screen_told(self, message: Told) -> None:
        """Show what was found."""
        self._found += message.found
        self._show()

    def on_check_screen_ended(self, message: Ended) -> None:
        """Show the verdict."""
        self._checked, self._error = message.checked, message.error
        self._show()

    def on_resize(self) -> None:
        """Wrap anew."""
        self._show()

    def _show(self) -> None:
        columns = max(40, self.app.size.width * 9 // 10 - 8)
        rows: list[Line] = finding_lines(self._found, columns)
        if self._checked is not None:
            rows = [*end_lines(self._checked, columns), *rows]
        elif self._error:
            rows += [EMPTY, line((f"■ {self._error}", "bad"))]
        else:
            rows += [EMPTY, line(("○ checking; the speed test takes some seconds…", "data"))]
        self.query_one("#findings", Static).update(as_text(rows, self._palette, self._ascii))

    def action_close(self) -> None:
        """Back to the launcher."""
        self.dismiss(None)
