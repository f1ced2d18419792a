"""The panel for windows that are too small."""

from __future__ import annotations

from gputrain.tui.layout.smallest_window import too_small
from gputrain.tui.render.styled_lines import Line, fit, line, wrap
from gputrain.tui.widgets.panel import Panel, View


class TooSmallPanel(Panel, can_focus=False):
    """Shows the required size of the terminal."""

    FRAME = False

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """One sentence, wrapped."""
        return [fit(line((row, "warn")), columns) for row in wrap(too_small(columns, rows), columns, rows)]
