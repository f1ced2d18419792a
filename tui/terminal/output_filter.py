"""Screen updates with fewer bytes than Textual sends by default, for slow SSH connections.

Textual 8.2 repaints a changed part of a row from the left edge of its widget. The update here starts where the change
starts. It depends on internals of Textual's update class; therefore Textual is pinned to a minor version.
"""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.control import Control
from textual._compositor import ChopsUpdate


class SpanUpdate(ChopsUpdate):
    """Repaints exactly the spans (row, first column, end column) that changed."""

    def render_segments(self, console: Console) -> str:
        """The text to send to the terminal."""
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
    """`update`, or a cheaper update that paints the same cells."""
    if type(update) is ChopsUpdate:
        return SpanUpdate(update.chops, update.spans, update.chop_ends)
    return update
