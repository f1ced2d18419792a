"""The dialog that asks how to leave or stop a live run."""

from __future__ import annotations

from typing import ClassVar, Literal

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from gputrain.engine.common.sanitize import plain
from gputrain.engine.supervision.stop_now import STOP_NOW_SECONDS

Choice = Literal["detach", "stop", "stop_now", "cancel"]

_LEAVE: tuple[tuple[Choice, str], ...] = (
    ("detach", "Detach: close this screen, the run continues"),
    ("stop", "Stop after a checkpoint"),
    ("stop_now", "Stop now, without a checkpoint"),
    ("cancel", "Cancel: stay in the dashboard"),
)
_STOP: tuple[tuple[Choice, str], ...] = (
    ("stop", "Stop after a checkpoint: the run can be resumed"),
    ("stop_now", "Stop now, without a checkpoint"),
    ("cancel", "Cancel: do not stop"),
)
_SCRIPT: tuple[tuple[Choice, str], ...] = (
    ("stop", "Stop: send it SIGINT, as Ctrl-C does"),
    ("stop_now", f"Stop now: SIGTERM, and SIGKILL after {STOP_NOW_SECONDS:.0f} s"),
)


def choices(stopping: bool, script: bool) -> tuple[tuple[Choice, str], ...]:
    """The options; for a script of the user's own they name the signals that it gets."""
    usual = _STOP if stopping else _LEAVE
    words = dict(_SCRIPT) if script else {}
    return tuple((choice, words.get(choice, label)) for choice, label in usual)


class QuitScreen(ModalScreen[Choice]):
    """Returns the choice. Enter takes the first option, Escape the last."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "choose('cancel')", "cancel"),
        Binding("d", "choose('detach')", "detach", show=False),
        Binding("s", "choose('stop')", "stop", show=False),
        Binding("x", "choose('stop_now')", "stop now", show=False),
        Binding("ctrl+c,q", "choose('cancel')", show=False, priority=True),
    ]

    def __init__(self, run_id: str, stopping: bool, command: str = "") -> None:
        """`command`: what runs, if that is a script of the user's own."""
        super().__init__()
        self._about = f"{command}  ({run_id})" if command else run_id
        self._choices = choices(stopping, bool(command))
        self._question = "Stop this run?" if stopping else "The run is still live. How do you want to leave?"

    def compose(self) -> ComposeResult:
        """Compose the question and the options."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self._question
            yield Static(Text(plain(self._about, 70), style="dim", no_wrap=True, overflow="ellipsis"))
            yield OptionList(*(Option(Text(label), id=choice) for choice, label in self._choices))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Return the option chosen with Enter or a click."""
        self.dismiss(next(choice for choice, _ in self._choices if choice == event.option.id))

    def action_choose(self, choice: Choice) -> None:
        """Return the option chosen with its key."""
        if any(choice == known for known, _ in self._choices):
            self.dismiss(choice)
