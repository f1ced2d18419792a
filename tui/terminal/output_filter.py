"""Fewer bytes to the terminal than Textual sends by itself: over SSH they are what a steady view costs.

Textual 8.2 repaints a changed stretch of a row from the left edge of its widget on, whatever lies before the
stretch. The update here begins where the stretch does. It relies on the shape of Textual's own update, which is
why Textual is pinned to a minor version.
"""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.control import Control
from textual._compositor import ChopsUpdate


class SpanUpdate(ChopsUpdate):
    """Repaints exactly the spans (row, first column, end column) that changed."""

    def render_segments(self, console: Console) -> str:
        """The text to send."""
        sent: list[str] = []
        for y, x1, x2 in self.spans:
            for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                if strip is None or x >= x2 or end <= x1:
                    continue
                first = max(x, x1)
                sent.append(str(Control.move_to(first, y)))
                sent.append(strip.crop(first - x, min(end, x2) - x).render(console))
        return "".join(sent)


def only_changes(update: RenderableType | None) -> RenderableType | None:
    """`update` as Textual made it, or a cheaper one that paints the same."""
    if type(update) is ChopsUpdate:
        return SpanUpdate(update.chops, update.spans, update.chop_ends)
    return update
