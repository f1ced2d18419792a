"""Dialogs of the runs screen: a text input, and a yes/no question."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from gputrain.engine.common.sanitize import plain


class PromptScreen(ModalScreen[str | None]):
    """Returns the typed line; None on Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+c", "cancel", "cancel", priority=True)]

    def __init__(self, title: str, value: str = "", placeholder: str = "", about: str = "") -> None:
        """`about`: a help text above the input."""
        super().__init__()
        self._title, self._value, self._placeholder, self._about = title, value, placeholder, about

    def compose(self) -> ComposeResult:
        """Compose one input."""
        with Vertical(classes="dialog wide") as dialog:
            dialog.border_title = Text(plain(self._title, 200)).markup
            dialog.border_subtitle = "Enter: OK · Escape: cancel"
            if self._about:
                yield Static(plain(self._about, 300), markup=False)
            yield Input(self._value, placeholder=self._placeholder, compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Return the line."""
        self.dismiss(event.value)

    def action_cancel(self) -> None:
        """Return None."""
        self.dismiss(None)


class ConfirmScreen(ModalScreen[bool]):
    """Returns True if the user presses y; any other key of the dialog means no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q,enter,ctrl+c", "answer(False)", "no", priority=True),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Compose the question."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_subtitle = "y: yes · n, Enter, Escape: no"
            yield Static(plain(self._question, 500), markup=False)

    def action_answer(self, yes: bool) -> None:
        """Return the answer."""
        self.dismiss(yes)
