"""A minimal Textual application with a few live widgets: the baseline for the dashboard."""

from __future__ import annotations

import random

from textual.app import App, ComposeResult
from textual.containers import Grid
from textual.widgets import Sparkline, Static

WIDGETS = 10
POINTS = 80


class Bare(App[None]):
    """Ten texts and ten sparklines, updated once a second."""

    CSS = "Grid { grid-size: 2; }"

    def compose(self) -> ComposeResult:
        """The widgets."""
        with Grid():
            for number in range(WIDGETS):
                yield Static(id=f"text{number}")
                yield Sparkline([0.0] * POINTS, id=f"line{number}")

    def on_mount(self) -> None:
        """Begin."""
        self._random = random.Random(0)
        self._points = [[self._random.random() for _ in range(POINTS)] for _ in range(WIDGETS)]
        self._go_on()
        self.set_interval(1.0, self._go_on)

    def _go_on(self) -> None:
        for number, points in enumerate(self._points):
            points.append(self._random.random())
            del points[0]
            text = f"GPU {number}  {points[-1]:6.1%}  " * 4
            self.query_one(f"#text{number}", Static).update(text)
            self.query_one(f"#line{number}", Sparkline).data = list(points)


if __name__ == "__main__":
    Bare().run()
