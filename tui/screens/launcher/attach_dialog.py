"""The dialog that offers to attach to a live run when the launcher opens."""

from __future__ import annotations

import time
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import per_second
from gputrain.engine.runs.run_directory import RunDir, RunInfo
from gputrain.tui.render import format as fmt
from gputrain.tui.render.ascii_replacements import to_ascii


def run_text(found: RunInfo, now: float) -> str:
    """A live run in one line; `now` is in seconds since 1970."""
    status = found.status
    if status is None:
        return plain(found.run.id, 60)
    speed = f"{fmt.rate(status.images_per_second)} {per_second(status.unit)}"
    parts = [
        f"● {plain(found.run.id, 60)}",
        plain(status.phase or status.state.value, 30),
        f"epoch {status.epoch + 1}/{status.epochs}" if status.epochs else "",
        speed if status.images_per_second is not None else "",
        f"for {fmt.duration(now - status.started)}",
    ]
    return "  ".join(part for part in parts if part)


class AttachScreen(ModalScreen[RunDir]):
    """Lists live runs. Returns the run to attach to, or None to continue in the launcher."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n,q", "close", "launcher"),
        Binding("ctrl+c", "close", show=False, priority=True),
    ]

    def __init__(self, found: list[RunInfo], ascii_only: bool) -> None:
        super().__init__()
        self._found = found
        self._ascii = ascii_only

    def compose(self) -> ComposeResult:
        """Compose the list, newest first."""
        now = time.time()
        lines = [run_text(found, now) for found in self._found]
        with Vertical(classes="dialog wide") as dialog:
            dialog.border_title = "A run is live" if len(lines) == 1 else f"{len(lines)} runs are live"
            dialog.border_subtitle = "Enter: attach · Escape: launcher"
            yield Static("Watch a live run, or start another one?", markup=False)
            yield OptionList(
                *(Option(Text(to_ascii(text) if self._ascii else text, no_wrap=True)) for text in lines), markup=False
            )

    def on_mount(self) -> None:
        """Highlight the newest run."""
        self.query_one(OptionList).highlighted = 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Return the chosen run."""
        self.dismiss(self._found[event.option_index].run)

    def action_close(self) -> None:
        """Return to the launcher."""
        self.dismiss(None)
