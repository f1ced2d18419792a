"""Base class of all panels: a bordered widget that redraws only changed cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from msgspec import Struct
from msgspec.structs import replace
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from gputrain.tui.render.ascii_replacements import to_ascii
from gputrain.tui.render.styled_lines import EMPTY, Line, cell_len, cut, fit, width
from gputrain.tui.render.theme import Palette, Role
from gputrain.tui.state.run_snapshot import Snapshot

_NEAR = 4
"""Unchanged cells between two changes that cost fewer bytes to send again than a cursor move."""


class View(Struct, frozen=True, kw_only=True):
    """Everything that panels draw from: a snapshot, and the view settings of the user."""

    now: Snapshot = Snapshot()
    live: bool = True
    """A supervisor owns the run."""
    caught_up: bool = False
    """Everything recorded before the attach was read."""
    paused: bool = False
    zoom: int = 0
    """Index into `axes.ZOOMS`."""
    ascii: bool = False
    search: str = ""
    """Search text for the log, or in the monitor for the processes."""
    by_memory: bool = False
    """Sort processes by memory instead of CPU."""
    interval: float = 0.0
    """Seconds between the monitor's samples."""
    error: str = ""
    """Why the run can no longer be read."""
    trouble: str = ""
    """Why it cannot be read for now."""
    subject: str = "this run"
    """Name of the observed process tree in panels; empty if the whole machine is observed."""

    @property
    def died(self) -> bool:
        """The run did not end, but its supervisor died."""
        return self.caught_up and not self.live and self.now.outcome is None


class Panel(Widget, can_focus=True):
    """A panel with frame and title. Subclasses draw lines; `show` sends only the changed cells."""

    TITLE: ClassVar[str] = ""
    FRAME: ClassVar[bool] = True
    DIGEST: ClassVar[bool] = False
    """Whether it summarizes other panels, for small windows."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._lines: tuple[Line, ...] = ()
        self._drawn_for = Size(0, 0)
        self._strips: dict[int, Strip] = {}
        """The rows as they are sent, by their numbers."""
        self._filters: Sequence[LineFilter] = ()
        """Filters of colors that `_strips` went through."""
        self._behind: Color | None = None
        """The background color, for the filters; None if not known yet."""
        self._palette: Palette = {}
        self._view = View()

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """The content: at most `rows` lines of any width."""
        raise NotImplementedError

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The objects that the panel is drawn from; it is redrawn only if one of them is replaced."""
        return (now,)

    def title(self, view: View) -> str:
        """Text on the left of the top border."""
        return self.TITLE

    def note(self, view: View) -> str:
        """Text on the right of the top border."""
        return ""

    def show(self, view: View) -> None:
        """Show `view`: redraw only what changed."""
        before, self._view = self._view, view
        everything = view.ascii != before.ascii
        same = all(a is b for a, b in zip(self.parts(before.now), self.parts(view.now), strict=True))
        if same and self._lines and replace(before, now=view.now) == view:
            return
        if not self.is_mounted or not self.outer_size:
            return
        lines = self._drawn(view)
        if everything or len(lines) != len(self._lines):
            self._lines = lines
            self.refresh()
            return
        regions = []
        for row, (old, new) in enumerate(zip(self._lines, lines, strict=True)):
            if old != new:
                regions += [Region(first, row, end - first, 1) for first, end in _differences(old, new)]
                self._strips.pop(row, None)
        self._lines = lines
        if regions:
            self._repaint(regions)

    def _repaint(self, regions: Sequence[Region]) -> None:
        """As `refresh`, without its three messages between tasks, which cost more than drawing most panels."""
        screen = self.screen
        self._repaint_regions.update(regions)
        if screen in screen._compositor:
            screen._dirty_widgets.add(self)
            screen.check_idle()

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """Have Textual repaint `regions`, or without them all rows."""
        if repaint and not regions:
            self._strips.clear()
            self._behind = None
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def _drawn(self, view: View) -> tuple[Line, ...]:
        self._drawn_for = self.outer_size
        return self._framed(view) if self.FRAME else self._filled(view, *self.outer_size)

    def _filled(self, view: View, columns: int, rows: int) -> tuple[Line, ...]:
        drawn = [fit(line, columns) for line in self.draw(view, columns, rows)[:rows]]
        return tuple(drawn) + (fit(EMPTY, columns),) * (rows - len(drawn))

    def _framed(self, view: View) -> tuple[Line, ...]:
        columns, rows = self.outer_size
        if columns < 6 or rows < 2:
            return self._filled(view, columns, rows)
        edge: Role = "focus" if self.has_focus else "frame"
        # The mark shows the focus without colors, too.
        title = f"{'▸' if self.has_focus else ' '}{cut(self.title(view), columns - 6)} "
        note = f" {self.note(view)} "
        if note.isspace() or cell_len(note) > columns - 4 - cell_len(title):
            note = ""
        gap = columns - 3 - cell_len(title) - cell_len(note)
        top: Line = (("╭─", edge), (title, "title"), ("─" * (gap - 1), edge), (note, "text"), ("─╮", edge))
        body = [(("│ ", edge), *inner, (" │", edge)) for inner in self._filled(view, columns - 4, rows - 2)]
        return (fit(top, columns), *body, (("╰" + "─" * (columns - 2) + "╯", edge),))

    def restyle(self, palette: Palette) -> None:
        """Apply other colors."""
        self._palette = palette
        self.refresh()

    def redraw(self) -> None:
        """Redraw after a change outside of the view."""
        self._lines = ()
        self.show(self._view)

    def on_resize(self) -> None:
        """Redraw for the new size."""
        if self._drawn_for != self.outer_size:
            self.redraw()

    def on_mount(self) -> None:
        """Redraw the frame when the focus changes."""
        self.watch(self, "has_focus", self.redraw, init=False)

    @property
    def has_axes(self) -> bool:
        """Whether the panel shows a chart."""
        return any("┤" in text for line in self._lines for text, _ in line)

    @property
    def text(self) -> str:
        """The content of the panel as plain text."""
        return "\n".join("".join(text for text, _ in line).rstrip() for line in self._lines)

    def render_lines(self, crop: Region) -> list[Strip]:
        """The rows and columns of `crop`.

        Panels have no border, padding or opacity in the style sheet, so that nothing else is painted around the rows.
        """
        filters = self.app.get_line_filters()
        # Without a border it is the size of the content, which Textual computes anew at each look.
        size = self.outer_size
        if self._drawn_for != size or filters != self._filters:
            self._filters = filters
            self._strips.clear()
            if self._drawn_for != size:
                # At the first paint, so that it shows the frame: Textual sends the resize event later.
                self._lines = self._drawn(self._view)
        rows = [self._strips.get(y) or self._strip(y, size.width) for y in crop.line_range]
        first, end = crop.column_span
        return rows if (first, end) == (0, size.width) else [row.crop(first, end) for row in rows]

    def render_line(self, y: int) -> Strip:
        """One row."""
        return self.render_lines(Region(0, y, self.outer_size.width, 1))[0]

    def _strip(self, y: int, columns: int) -> Strip:
        spans = self._lines[y] if y < len(self._lines) else fit(EMPTY, columns)
        strip = Strip(_segments(spans, self._palette, self._view.ascii), width(spans))
        if self._filters:
            behind = self.background_colors[1] if self._behind is None else self._behind
            self._behind = behind
            for one in self._filters:
                strip = strip.apply_filter(one, behind)
        self._strips[y] = strip
        return strip


def _differences(old: Line, new: Line) -> list[tuple[int, int]]:
    """First and end cells of the parts in which two lines of equal width differ."""
    before, after = _cells(old), _cells(new)
    cells = width(new)
    if len(before) != cells or len(after) != cells:
        # With characters of two (or zero) cells, redraw the whole line instead of locating them.
        return [(0, cells)]
    found: list[tuple[int, int]] = []
    for cell, (was, now) in enumerate(zip(before, after, strict=True)):
        if was != now:
            if found and cell - found[-1][1] < _NEAR:
                found[-1] = (found[-1][0], cell + 1)
            else:
                found.append((cell, cell + 1))
    return found


def _cells(of: Line) -> list[tuple[str, Role]]:
    return [(character, role) for text, role in of for character in text]


def _segments(of: Line, palette: Palette, ascii_only: bool) -> list[Segment]:
    """The line in as few segments as possible: each costs up to forty bytes. Blanks join their neighbor segment."""
    merged: list[tuple[str, Style | None]] = []
    for text, role in of:
        style = palette.get(role)
        if merged and (style == merged[-1][1] or (text.isspace() and not _shows_blanks(merged[-1][1]))):
            merged[-1] = (merged[-1][0] + text, merged[-1][1])
        elif merged and merged[-1][0].isspace() and not _shows_blanks(style) and not _shows_blanks(merged[-1][1]):
            merged[-1] = (merged[-1][0] + text, style)
        else:
            merged.append((text, style))
    return [Segment(to_ascii(text) if ascii_only else text, style) for text, style in merged]


def _shows_blanks(style: Style | None) -> bool:
    return style is not None and bool(style.reverse or style.underline)
