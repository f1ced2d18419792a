"""A container that places its children by a function of its size."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from textual.geometry import Offset, Region, Size, Spacing
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.widget import Widget

from gputrain.tui.layout.panel_layout import Place

Arrange = Callable[[int, int], Mapping[str, Place]]


class TileLayout(Layout):
    """Places children by their ids."""

    name = "tiles"

    def __init__(self, arrange: Arrange) -> None:
        self._arrange = arrange

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        """Placements of the children that have a place; the others are hidden."""
        places = self._arrange(size.width, size.height)
        return [
            WidgetPlacement(Region(*places[child.id]), Offset(), Spacing(), child)
            for child in children
            if child.id is not None and child.id in places
        ]


class Tiles(Widget):
    """The body of a panel screen. Call `rearrange` after a change of anything that the places depend on."""

    def __init__(self, *children: Widget, arrange: Arrange) -> None:
        super().__init__(*children)
        self._arrange = arrange
        self._tiles = TileLayout(arrange)

    @property
    def layout(self) -> Layout:
        """The tile layout, independent of the style sheet."""
        return self._tiles

    def rearrange(self) -> None:
        """Place the children again, and hide those without a place."""
        places = self._arrange(*self.size)
        for child in self.children:
            child.display = child.id in places
            # Refresh a child, because Textual caches the arrangement of a container until a child changes.
            child.refresh(layout=True)

    def on_resize(self) -> None:
        """Place the children for the new size."""
        self.rearrange()
