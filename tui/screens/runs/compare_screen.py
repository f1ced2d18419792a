"""The comparison screen: curves of several runs by metric and axis, and tables of settings and results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import ScrollableContainer
from textual.screen import Screen
from textual.widgets import Static

from gputrain.tui.actions.compare_chart import metrics, with_legend
from gputrain.tui.actions.compare_runs import AXES, Compared
from gputrain.tui.actions.compare_tables import tables
from gputrain.tui.layout.key_bindings import Key
from gputrain.tui.layout.textual_bindings import bindings
from gputrain.tui.render.ascii_replacements import to_ascii
from gputrain.tui.render.charset import wants_ascii
from gputrain.tui.render.styled_lines import Line
from gputrain.tui.render.theme import palette
from gputrain.tui.widgets.key_bar import KeyBar
from gputrain.tui.widgets.panel import Panel, View

KEYS = (
    Key("q,escape,f10", "q", "back", "close", "Back to the list of runs."),
    Key("m", "m", "metric", "metric(1)", "Next metric; M: previous metric."),
    Key("a,x", "a", "axis", "axis", "Next x-axis: steps, seconds, or images (of scripts: samples, tokens or steps)."),
)


class CurvesPanel(Panel, can_focus=False):
    """The chart of all runs."""

    FRAME = False

    def __init__(self, compared: Sequence[Compared], *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._compared = compared
        self.metrics = metrics(compared)
        self.metric = 0
        self.axis = 0

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Title, legend and curves as lines."""
        if not self.metrics:
            return [(("no run has values yet", "dim"),)]
        metric = self.metrics[self.metric % len(self.metrics)]
        axis = AXES[self.axis % len(AXES)]
        return with_legend(self._compared, metric, axis, columns, rows, view.ascii)


class CompareScreen(Screen[None]):
    """Curves above, tables below; the arrow keys scroll the tables."""

    AUTO_FOCUS = "ScrollableContainer"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(KEYS),
        Binding("M", "metric(-1)", show=False),
        Binding("ctrl+c", "close", show=False, priority=True),
    ]

    def __init__(self, compared: Sequence[Compared]) -> None:
        super().__init__()
        self._compared = compared
        self._ascii = wants_ascii()

    def compose(self) -> ComposeResult:
        """Compose curves, tables and key bar."""
        yield CurvesPanel(self._compared, id="curves")
        text = "\n".join(tables(self._compared))
        with ScrollableContainer():
            yield Static(Text(to_ascii(text) if self._ascii else text, no_wrap=True))
        yield KeyBar(KEYS, id="keys")

    def on_mount(self) -> None:
        """Apply the colors of the theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._restyle())
        self._restyle()

    def _restyle(self) -> None:
        colors = palette(self.app.current_theme, self.styles.background.rich_color, mono=self.app.no_color)
        for panel in self.query(Panel).results():
            panel.restyle(colors)
            panel.show(View(ascii=self._ascii))

    def action_metric(self, step: int) -> None:
        """Show the next (+1) or previous (−1) metric."""
        curves = self.query_one(CurvesPanel)
        curves.metric += step
        curves.redraw()

    def action_axis(self) -> None:
        """Show the next x-axis."""
        curves = self.query_one(CurvesPanel)
        curves.axis += 1
        curves.redraw()

    def action_close(self) -> None:
        """Back to the list of runs."""
        self.dismiss(None)
