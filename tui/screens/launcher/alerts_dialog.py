"""The dialog of alerts: where they go, and a button that sends a test to every target."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from gputrain.engine.alerts.alert import KINDS
from gputrain.engine.alerts.alert_settings import EXAMPLE, AlertSettings, read_alert_settings, settings_file
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.tui.render.charset import wants_ascii
from gputrain.tui.render.styled_lines import EMPTY, Line, Span, line, pad, wrap
from gputrain.tui.render.theme import palette
from gputrain.tui.widgets.menu import as_text

if TYPE_CHECKING:
    from gputrain.engine.alerts.alert_test import Answer
    from gputrain.engine.alerts.delivery import Target

_TITLE_CELLS = 10


class AlertsScreen(ModalScreen[None]):
    """Shows the targets, and the answer of each to a test. Threads read the file and wait for the targets.

    Escape closes it at any time; a test on its way is still delivered.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f10", "close", "close"),
        Binding("ctrl+c", "close", show=False, priority=True),
        Binding("t", "test", "send a test"),
    ]

    class SettingsRead(Message):
        """The file was read; `error` says why it cannot be used."""

        def __init__(self, settings: AlertSettings, found: list[Target], error: str = "") -> None:
            super().__init__()
            self.settings, self.found, self.error = settings, found, error

    class Answered(Message):
        """Target `number` has answered."""

        def __init__(self, number: int, answer: Answer) -> None:
            super().__init__()
            self.number, self.answer = number, answer

    def __init__(self) -> None:
        super().__init__()
        self._ascii = wants_ascii()
        self._settings: AlertSettings | None = None
        self._error = ""
        self._targets: list[Target] = []
        self._answers: dict[int, Answer] = {}
        self._sent: float | None = None
        """When the test was sent, in seconds of the monotonic clock."""

    def compose(self) -> ComposeResult:
        """Compose the text and the button."""
        with VerticalScroll(classes="dialog wide") as dialog:
            dialog.border_title = "Alerts"
            dialog.border_subtitle = "t: send a test  Escape: close"
            yield Static(id="alerts", markup=False)
            yield Button("Send a test", id="send", variant="primary", compact=True, disabled=True)

    def on_mount(self) -> None:
        """Read the settings, on a thread: the folder may lie on a slow drive."""
        self._show()
        self.set_interval(1.0, self._show_waiting)
        threading.Thread(target=self._read, name="alert settings", daemon=True).start()

    def _read(self) -> None:
        from gputrain.engine.alerts.delivery import targets  # imported here: the client for HTTP takes a while

        try:
            settings = read_alert_settings()
            self.post_message(self.SettingsRead(settings, list(targets(settings))))
        except BadInput as error:
            self.post_message(self.SettingsRead(AlertSettings(), [], str(error)))
        except OSError as error:
            self.post_message(self.SettingsRead(AlertSettings(), [], f"{settings_file()}: {error.strerror or error}"))

    def on_alerts_screen_settings_read(self, message: SettingsRead) -> None:
        """Show the targets."""
        self._settings, self._targets, self._error = message.settings, message.found, plain(message.error, 500)
        self._offer()

    def on_button_pressed(self, _event: Button.Pressed) -> None:
        """Send a test, as the key does."""
        self.action_test()

    def action_test(self) -> None:
        """Send a test to all targets at once, each on a thread of its own."""
        if self._waiting or not self._targets:
            return
        self._answers, self._sent = {}, time.monotonic()
        for number, target in enumerate(self._targets):
            threading.Thread(target=self._send, args=(number, target), name=target.label, daemon=True).start()
        self._offer()

    def _send(self, number: int, target: Target) -> None:
        from gputrain.engine.alerts.alert_test import send_test

        # After the dialog has closed the message is dropped.
        self.post_message(self.Answered(number, send_test(target)))

    def on_alerts_screen_answered(self, message: Answered) -> None:
        """Show the answer."""
        self._answers[message.number] = message.answer
        self._offer()

    @property
    def _waiting(self) -> bool:
        """Whether a target has not answered yet."""
        return self._sent is not None and len(self._answers) < len(self._targets)

    def _offer(self) -> None:
        button = self.query_one("#send", Button)
        button.disabled = self._waiting or not self._targets
        if not button.disabled:
            button.focus()
        self._show()

    def _show_waiting(self) -> None:
        if self._waiting:
            self._show()

    def on_resize(self) -> None:
        """Wrap the text again once the dialog has its new width."""
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        dialog = self.query_one(VerticalScroll)
        colors = palette(self.app.current_theme, dialog.styles.background.rich_color, mono=self.app.no_color)
        columns = max(40, dialog.scrollable_content_region.width)
        self.query_one("#alerts", Static).update(as_text(self._lines(columns), colors, self._ascii))

    def _lines(self, columns: int) -> list[Line]:
        if self._settings is None:
            return [line(("○ reading the settings", "data"))]
        if self._error:
            first, *others = wrap(self._error, columns - 2, 8)
            return [line((f"■ {first}", "bad")), *(line((f"  {row}", "bad")) for row in others)]
        about = [("settings", plain(str(settings_file()), 300))]
        if not self._targets:
            example = [line((f"  {row}", "dim")) for row in EXAMPLE.splitlines()]
            return [*_titled(about, columns), EMPTY, line("no targets yet; an example of the file:"), *example]
        about.append(("alerts", ", ".join(kind for kind in KINDS if kind in self._settings.kinds)))
        found = [self._target(number, target) for number, target in enumerate(self._targets)]
        return [*_titled(about, columns), EMPTY, *found, EMPTY]

    def _target(self, number: int, target: Target) -> Line:
        name: Span = (f"{pad(target.label, 24)} ", "bright")
        answer = self._answers.get(number)
        if answer is not None:
            return (name, (f"■ {answer.text}", "bad") if answer.error else (f"● {answer.text}", "good"))
        if self._sent is not None:
            return (name, (f"○ waiting for its answer, {time.monotonic() - self._sent:.0f} s", "data"))
        return (name, ("not tested here", "dim"))

    def action_close(self) -> None:
        """Return to the screen below."""
        self.dismiss(None)


def _titled(pairs: list[tuple[str, str]], columns: int) -> list[Line]:
    """Each text behind its title, wrapped."""
    rows: list[Line] = []
    for title, text in pairs:
        for number, row in enumerate(wrap(text, columns - _TITLE_CELLS, 4)):
            rows.append(line((pad("" if number else title, _TITLE_CELLS), "dim"), row))
    return rows
