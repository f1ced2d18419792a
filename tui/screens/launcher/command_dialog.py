"""The form for a command of the user's own: what to start, where, and how it is watched."""

from __future__ import annotations

import threading
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Checkbox, Input, Label, Static

from gputrain.engine.common.sanitize import plain
from gputrain.tui.actions.script.own_command import EXAMPLE, FieldError, OwnCommand, Typed, preview, read_form
from gputrain.tui.render.ascii_replacements import to_ascii
from gputrain.tui.render.styled_lines import EMPTY, Line, line, pad, wrap
from gputrain.tui.render.theme import Palette
from gputrain.tui.widgets.menu import as_text

FIELDS = (
    ("command", EXAMPLE),
    ("folder", "the working directory; empty: the present one"),
    ("name", "empty: the name of the script"),
    ("tags", "words for lists and searches"),
    ("per step", "empty: counted; else as 32 images, 8192 tokens"),
)
_TITLE_CELLS = 10
_ROWS = 3
"""Most rows of one text of the preview."""


def _id(field: str) -> str:
    return field.replace(" ", "_")


class Tick(Checkbox):
    """A checkbox whose state shows without color: ``[x]`` or ``[ ]``."""

    BUTTON_LEFT, BUTTON_INNER, BUTTON_RIGHT = "", "[ ]", ""

    def render(self) -> Content:
        """Draw the state and the label."""
        self.BUTTON_INNER = "[x]" if self.value else "[ ]"
        return super().render()


class CommandScreen(ModalScreen[OwnCommand | None]):
    """Returns the command to start; None if the user goes back. `typed` has the fields at any time."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "back", "back", priority=True),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    class Checked(Message):
        """What the fields `typed` give: a command, or the error of a field."""

        def __init__(self, typed: Typed, own: OwnCommand | None, error: FieldError | None) -> None:
            super().__init__()
            self.typed, self.own, self.error = typed, own, error

    def __init__(self, typed: Typed, palette: Palette, ascii_only: bool) -> None:
        """`typed`: the fields to begin with."""
        super().__init__()
        self.typed = typed
        self._palette, self._ascii = palette, ascii_only
        self._starting = False
        self._lines: list[tuple[str, str]] = []
        self._error = ""

    def compose(self) -> ComposeResult:
        """Compose the fields, two switches, and what a start will do."""
        with VerticalScroll(classes="dialog wide", id="own", can_focus=False) as dialog:
            dialog.border_title = "Your own command"
            dialog.border_subtitle = "Enter: start · Tab: next field · Escape: back"
            for field, placeholder in FIELDS:
                with Horizontal(classes="field"):
                    yield Label(field, markup=False)
                    value = getattr(self.typed, _id(field))
                    shown = to_ascii(placeholder) if self._ascii else placeholder
                    yield Input(value, placeholder=shown, compact=True, id=_id(field), select_on_focus=False)
            with Horizontal(classes="field"):
                yield Label("", markup=False)
                yield Tick("autotune", self.typed.autotune, compact=True, id="autotune")
                yield Tick("watch from inside", self.typed.inject, compact=True, id="inject")
            yield Static(markup=False, id="happens")

    def on_mount(self) -> None:
        """Focus the command line."""
        self.query_one("#command", Input).focus()
        self._check()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Check the fields again."""
        self._check()

    def on_checkbox_changed(self, event: Checkbox.Changed) -> None:
        """Check the fields again."""
        self._check()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Start, once the fields are checked."""
        self._starting = True
        self._check()

    def _check(self) -> None:
        texts = {_id(field): self.query_one(f"#{_id(field)}", Input).value for field, _ in FIELDS}
        autotune, inject = (self.query_one(f"#{name}", Checkbox).value for name in ("autotune", "inject"))
        self.typed = typed = Typed(**texts, autotune=autotune, inject=inject)

        def work() -> None:
            try:
                self.post_message(self.Checked(typed, read_form(typed), None))
            except FieldError as error:
                self.post_message(self.Checked(typed, None, error))

        # On a daemon thread: the folder may be on a network drive that hangs.
        threading.Thread(target=work, name="command", daemon=True).start()

    def on_command_screen_checked(self, message: Checked) -> None:
        """Show what will happen or what is wrong; start if the user asked for it."""
        if message.typed != self.typed:
            return
        wanted, self._starting = self._starting, False
        if wanted and message.own is not None:
            self.dismiss(message.own)
            return
        # Nothing is wrong with a form that is still empty.
        quiet = not self.typed.command.strip() and not wanted
        self._error = "" if message.error is None or quiet else plain(str(message.error), 600)
        self._lines = preview(message.own) if message.own is not None else []
        self._draw()
        if wanted and message.error is not None:
            self.query_one(f"#{_id(message.error.field)}", Input).focus()

    def on_resize(self) -> None:
        """Wrap the texts for the new width."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        columns = max(30, self.query_one("#own").scrollable_content_region.width)
        shown: list[Line] = [EMPTY]
        if self._error:
            shown += [line((row, "bad")) for row in wrap(f"■ {self._error}", columns, _ROWS + 1)]
        elif not self._lines:
            text = f"Any training script runs here, unedited: {EXAMPLE}, torchrun, accelerate launch, a shell script."
            shown += [line((row, "dim")) for row in wrap(text, columns, _ROWS)]
        for title, text in self._lines:
            for number, row in enumerate(wrap(text, columns - _TITLE_CELLS, _ROWS)):
                shown.append(line((pad("" if number else title, _TITLE_CELLS), "dim"), row))
        self.query_one("#happens", Static).update(as_text(shown, self._palette, self._ascii))

    def action_back(self) -> None:
        """Return to the launcher; what was typed stays."""
        self.dismiss(None)
