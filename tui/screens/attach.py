"""The offer, at the start, to go back to a run that goes on."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from gputrain.engine.runs import RunDir, RunInfo
from gputrain.engine.text import plain


class AttachScreen(ModalScreen[RunDir | None]):
    """Returns the run to go to; None for a new one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,n", "fresh", "a new run")]

    def __init__(self, live: list[RunInfo]) -> None:
        super().__init__()
        self._live = live

    def compose(self) -> ComposeResult:
        """The live runs, the newest first, and a new one."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = (
                "A run is going on" if len(self._live) == 1 else f"{len(self._live)} runs are going on"
            )
            options = [Option(Text(f"Watch {_line(info)}"), id=str(n)) for n, info in enumerate(self._live)]
            yield OptionList(*options, Option(Text("Start a new run"), id="new"), id="live-runs")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """An answer was taken."""
        number = event.option.id or "new"
        self.dismiss(None if number == "new" else self._live[int(number)].run)

    def action_fresh(self) -> None:
        """Go on to the launcher."""
        self.dismiss(None)


def _line(info: RunInfo) -> str:
    status = info.status
    where = f"epoch {status.epoch + 1}/{status.epochs}, step {status.step}" if status is not None else ""
    return f"{plain(info.run.id, 50)}  {status.state if status else ''}  {where}"
