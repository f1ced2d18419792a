"""A container whose children stand where `arrange` says, so that a resize moves everything in one step."""

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
        """Placements of the children that have a place; the others are not shown."""
        places = self._arrange(size.width, size.height)
        return [
            WidgetPlacement(Region(*places[child.id]), Offset(), Spacing(), child)
            for child in children
            if child.id is not None and child.id in places
        ]


class Tiles(Widget):
    """The dashboard's body. Children are given once; `rearrange` after anything that the places depend on."""

    def __init__(self, *children: Widget, arrange: Arrange) -> None:
        super().__init__(*children)
        self._arrange = arrange
        self._tiles = TileLayout(arrange)

    @property
    def layout(self) -> Layout:
        """The tile layout, whatever the style sheet says."""
        return self._tiles

    def rearrange(self) -> None:
        """Place the children anew, and take the hidden ones out of the way of the tab key."""
        places = self._arrange(*self.size)
        for child in self.children:
            child.display = child.id in places
            # Asked of a child: Textual keeps a widget's own arrangement until something within it changes.
            child.refresh(layout=True)

    def on_resize(self) -> None:
        """Hide and show what the new size asks for."""
        self.rearrange()
