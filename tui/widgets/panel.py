"""Base class of all panels: a bordered widget that redraws only changed cells."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from gputrain.tui.render.ascii_replacements import to_ascii
from gputrain.tui.render.styled_lines import EMPTY, Line, cut, fit, width
from gputrain.tui.render.theme import Palette, Role
from gputrain.tui.state.run_snapshot import Snapshot

_NEAR = 12
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
        if not self.is_mounted or not self.size:
            return
        lines = self._drawn(view)
        if everything or len(lines) != len(self._lines):
            self._lines = lines
            self._strips.clear()
            self.refresh()
            return
        regions = []
        for row, (old, new) in enumerate(zip(self._lines, lines, strict=True)):
            if old != new:
                regions += [Region(first, row, end - first, 1) for first, end in _differences(old, new)]
                self._strips.pop(row, None)
        self._lines = lines
        if regions:
            self.refresh(*regions)

    def _drawn(self, view: View) -> tuple[Line, ...]:
        self._drawn_for = self.size
        return self._framed(view) if self.FRAME else self._filled(view, *self.size)

    def _filled(self, view: View, columns: int, rows: int) -> tuple[Line, ...]:
        drawn = [fit(line, columns) for line in self.draw(view, columns, rows)[:rows]]
        return tuple(drawn) + (fit(EMPTY, columns),) * (rows - len(drawn))

    def _framed(self, view: View) -> tuple[Line, ...]:
        columns, rows = self.size
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
        self._strips.clear()
        self.refresh()

    def redraw(self) -> None:
        """Redraw after a change outside of the view."""
        self._lines = ()
        self.show(self._view)

    def on_resize(self) -> None:
        """Redraw for the new size."""
        if self._drawn_for != self.size:
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

    def render_line(self, y: int) -> Strip:
        """One row as a Textual strip."""
        if self._drawn_for != self.size:
            # At the first paint, so that it shows the frame: Textual sends the resize event later.
            self._lines = self._drawn(self._view)
            self._strips.clear()
        strip = self._strips.get(y)
        if strip is None:
            spans = self._lines[y] if y < len(self._lines) else fit(EMPTY, self.size.width)
            segments = _segments(spans, self._palette, self._view.ascii)
            strip = self._strips[y] = Strip(segments, width(spans))
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
