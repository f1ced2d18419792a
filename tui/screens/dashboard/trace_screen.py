"""Shows what a trace of some steps has found, after key p was pressed."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from gputrain.engine.events import Traced
from gputrain.tui.render.trace_text import trace_text
from gputrain.tui.screens.text_screen import TextScreen


class TraceScreen(TextScreen):
    """Shows the trace over the dashboard; key p closes it, too."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("p", "close", "close")]

    def __init__(self, traced: Traced, ascii_only: bool) -> None:
        super().__init__("Trace", trace_text(traced), ascii_only)
