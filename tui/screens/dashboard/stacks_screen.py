"""Shows what all threads of the run did when key k was pressed."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from gputrain.engine.events import StacksTaken
from gputrain.tui.render.stacks_text import stacks_text
from gputrain.tui.screens.text_screen import TextScreen


class StacksScreen(TextScreen):
    """Shows the stacks over the dashboard; key k closes it, too."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("k", "close", "close")]

    def __init__(self, taken: StacksTaken, ascii_only: bool) -> None:
        super().__init__("Stacks of all threads", stacks_text(taken), ascii_only)
