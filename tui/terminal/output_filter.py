"""Screen updates with fewer bytes than Textual sends by default, for slow SSH connections.

Textual 8.2 repaints a changed part of a row from the left edge of its widget, and renders all rows of all widgets
around the changes. The updates here start where a change starts. They depend on internals of Textual's compositor;
therefore Textual is pinned to a minor version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter

from rich.color import ColorSystem
from rich.console import Console, RenderableType
from textual._compositor import ChopsUpdate, Compositor, CompositorUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from gputrain.tui.terminal.styled_output import Piece, cut, encode


class PiecesUpdate(CompositorUpdate):
    """Paints pieces of rows."""

    def __init__(self, pieces: Sequence[Piece], columns: int) -> None:
        """`columns`: of the screen."""
        self.pieces, self._columns = pieces, columns

    def render_segments(self, console: Console) -> str:
        """The text to send to the terminal."""
        return encode(self.pieces, console._color_system or ColorSystem.TRUECOLOR, self._columns)


class FullUpdate(LayoutUpdate):
    """Paints all rows."""

    def __init__(self, rows: Sequence[Sequence[Piece]], region: Region) -> None:
        """`rows`: the pieces of each row from left to right."""
        super().__init__([[Strip(part) for _, _, part in pieces] for pieces in rows], region)
        self._update = PiecesUpdate([piece for pieces in rows for piece in pieces], region.width)

    def render_segments(self, console: Console) -> str:
        """The text to send to the terminal."""
        return self._update.render_segments(console)


class SpanCompositor(Compositor):
    """Renders and paints exactly the cells that changed."""

    def render_full_update(self, simplify: bool = False) -> LayoutUpdate:
        """An update of all cells; `simplify`: for an SVG."""
        if simplify:
            return super().render_full_update(simplify)
        self._dirty_regions.clear()
        columns, rows = self.size
        pieces = [sorted(self._pieces(y, 0, columns), key=itemgetter(1)) for y in range(rows)]
        return FullUpdate(pieces, self.size.region)

    def render_partial_update(self) -> PiecesUpdate | None:  # type: ignore[override]
        """The update; None if nothing changed."""
        regions = list(self._dirty_regions)
        self._dirty_regions.clear()
        if not regions:
            return None
        columns, rows = self.size
        pieces = [
            piece
            for y, x1, x2 in self._regions_to_spans(regions)
            if 0 <= y < rows
            for piece in self._pieces(y, max(0, x1), min(columns, x2))
        ]
        return PiecesUpdate(pieces, columns)

    def _pieces(self, y: int, x1: int, x2: int) -> Iterator[Piece]:
        """The cells `x1` to `x2` of a row, each from the front widget."""
        wanted = [(x1, x2)] if x1 < x2 else []
        for widget, shown, region in self.layers_visible[y]:
            left: list[tuple[int, int]] = []
            for first, end in wanted:
                start, stop = max(first, shown.x), min(end, shown.right)
                if start >= stop:
                    left.append((first, end))
                    continue
                (row,) = widget.render_lines(Region(0, y - region.y, region.width, 1))
                yield y, start, cut(row, start - region.x, stop - region.x)
                left += [part for part in ((first, start), (stop, end)) if part[0] < part[1]]
            wanted = left
            if not wanted:
                return


class SpanUpdate(ChopsUpdate):
    """Repaints exactly the spans (row, first column, end column) that changed."""

    def render_segments(self, console: Console) -> str:
        """The text to send to the terminal."""
        pieces: list[Piece] = []
        columns = 0
        for y, x1, x2 in self.spans:
            for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                columns = max(columns, end)
                if strip is None or x >= x2 or end <= x1:
                    continue
                first = max(x, x1)
                pieces.append((y, first, cut(strip, first - x, min(end, x2) - x)))
        return PiecesUpdate(pieces, columns).render_segments(console)


def only_changes(update: RenderableType | None) -> RenderableType | None:
    """`update`, or a cheaper update that paints the same cells."""
    if type(update) is ChopsUpdate:
        return SpanUpdate(update.chops, update.spans, update.chop_ends)
    return update
