"""Shows a plan: refusals and warnings, resources, and the origin of each setting."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, zip_longest

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from gputrain.engine.common.sanitize import plain
from gputrain.engine.estimates.host_memory import Part
from gputrain.engine.planning.plan import DEFAULT, THIS_MACHINE, Plan, PlanRow
from gputrain.tui.render import format as fmt
from gputrain.tui.render.plan_tables import (
    NARROW_BUFFERS,
    NARROW_SCALING,
    NARROW_SPEEDS,
    buffer_cells,
    scaling_cells,
    speed_cells,
)
from gputrain.tui.render.styled_lines import EMPTY, Line, Span, cut, fit, line, pad, stacked, width, wrap
from gputrain.tui.render.theme import Palette, Role
from gputrain.tui.widgets.menu import as_text

_TWO_COLUMNS = 116
"""Width in cells from which settings and resources are shown side by side."""
_SIGNS: tuple[tuple[str, Role], ...] = (
    ("█", "data"),
    ("▓", "compute"),
    ("▒", "copy"),
    ("░", "warn"),
    ("▓", "title"),
    ("▒", "good"),
)
_MOST_ROWS = 4
"""Most rows of one warning; nearly all take one or two."""


def plan_lines(plan: Plan, columns: int) -> list[Line]:
    """The whole plan in lines of at most `columns` cells."""
    head = _verdicts(plan, columns)
    if columns < _TWO_COLUMNS:
        return [*head, *_resources(plan, columns), EMPTY, *_settings(plan, columns), EMPTY, *_tables(plan, columns)]
    left = columns * 60 // 100
    right = columns - left - 3
    pairs = zip_longest(
        _settings(plan, left), [*_resources(plan, right), EMPTY, *_tables(plan, right)], fillvalue=EMPTY
    )
    return [*head, *((*fit(first, left), ("   ", "text"), *second) for first, second in pairs)]


def _verdicts(plan: Plan, columns: int) -> list[Line]:
    """Refusals, warnings and adjustments with their signs."""
    found: list[Line] = []
    kinds: tuple[tuple[tuple[str, ...], str, Role], ...] = (
        (plan.refuses, "■ refused  ", "bad"),
        (plan.warnings, "▲ warning  ", "warn"),
        (plan.adjustments, "◆ adjusted ", "data"),
    )
    for texts, sign, role in kinds:
        for text in texts:
            rows = wrap(plain(text, 800), max(20, columns - len(sign)), _MOST_ROWS)
            found += [line((sign if not n else " " * len(sign), role), row) for n, row in enumerate(rows)]
    return [*found, EMPTY] if found else []


def _resources(plan: Plan, columns: int) -> list[Line]:
    """Facts, then the memory budgets by part."""
    found = [_heading("Resources", columns)]
    label = 2 + max(len(name) for name, _ in plan.facts)
    for name, text in plan.facts:
        rows = wrap(plain(text, 400), max(20, columns - label), _MOST_ROWS)
        found += [line((pad(name if not n else "", label), "dim"), row) for n, row in enumerate(rows)]
    if plan.vram is not None and plan.vram.total is not None:
        found += [EMPTY, *_budget("VRAM", plan.vram.parts, plan.vram.total, plan.vram.limit, columns)]
    return [*found, EMPTY, *_budget("RAM", plan.ram.parts, plan.ram.total, plan.ram.limit, columns)]


def _tables(plan: Plan, columns: int) -> list[Line]:
    """The same settings on several GPUs, and RAM buffers by number of workers."""
    buffers = _table("RAM buffer by number of workers", NARROW_BUFFERS, buffer_cells(plan.buffers), columns)
    several = _table("On several GPUs", NARROW_SCALING, scaling_cells(plan.scaling), columns)
    if plan.speeds:
        several += [EMPTY, *_table("Speed on several GPUs", NARROW_SPEEDS, speed_cells(plan.speeds), columns)]
    return [*several, EMPTY, *buffers]


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], columns: int) -> list[Line]:
    """A heading and aligned columns; columns that do not fit are dropped."""
    widths = [2 + max(width([(row[at], "text")]) for row in (header, *rows)) for at in range(len(header))]
    while sum(widths) - 2 > columns:
        widths.pop()
    drawn = [_heading(title, columns)]
    for number, row in enumerate((header, *rows)):
        cells = "".join(pad(cell, size) for cell, size in zip(row, widths, strict=False)).rstrip()
        drawn.append(line((cells, "text" if number else "dim")))
    return drawn


def _budget(name: str, parts: Sequence[Part], total: int, limit: int | None, columns: int) -> list[Line]:
    """A bar of the memory budget with its parts, largest first."""
    ordered = sorted((part for part in parts if part.bytes), key=lambda part: -part.bytes)
    whole = max(total, limit or 0, 1)
    marked = list(zip(ordered, cycle(_SIGNS), strict=False))
    drawn = stacked([(part.bytes / whole, sign, role) for part, (sign, role) in marked], columns)
    used = f"{fmt.size(total)} of {fmt.size(limit)}" if limit else fmt.size(total)
    legend = [
        line((f"{sign} ", role), f"{part.name} ", (fmt.size(part.bytes), "bright")) for part, (sign, role) in marked
    ]
    return [_heading(f"{name} {used}", columns), fit(drawn, columns), *_flow(legend, columns)]


def _flow(items: Sequence[Line], columns: int) -> list[Line]:
    """`items` side by side, three cells apart, in as many rows as needed."""
    rows: list[Line] = []
    row: list[Span] = []
    for item in items:
        if row and width(row) + 3 + width(item) > columns:
            rows.append(tuple(row))
            row = []
        row += [("   ", "text"), *item] if row else item
    return [*rows, tuple(row)] if row else rows


def _settings(plan: Plan, columns: int) -> list[Line]:
    """Setting, value, origin and note of each setting that differs from its default."""
    shown = [row for row in plan.rows if row.origin != DEFAULT]
    name = _column([row.setting for row in shown], 24)
    value = _column([plain(row.value, 200) for row in shown], max(18, columns // 6))
    origin = _column([plain(row.origin, 80) for row in shown], max(20, columns // 3))
    found = [_heading("Settings and their origin", columns)]
    for row in shown:
        spans: Line = (
            (pad(cut(row.setting, name - 2), name), "text"),
            (pad(cut(plain(row.value, 200), value - 2), value), "bright"),
            (pad(cut(plain(row.origin, 80), origin - 2), origin), _origin_role(row)),
            (cut(plain(row.note, 300), columns - name - value - origin), "warn" if row.changed else "dim"),
        )
        found.append(fit(spans, columns))
    return found


def _column(texts: Sequence[str], most: int) -> int:
    return min(most, 2 + max((width([(text, "text")]) for text in texts), default=0))


def _origin_role(row: PlanRow) -> Role:
    if row.origin == "you":
        return "title"
    return "data" if row.origin == THIS_MACHINE else "dim"


def _heading(text: str, columns: int) -> Line:
    text = cut(text, columns - 4)
    return line(("── ", "frame"), (f"{text} ", "title"), ("─" * (columns - 4 - width([(text, "text")])), "frame"))


class PlanView(VerticalScroll, can_focus=True):
    """The plan in a scrollable view, or a message if there is none."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self.border_title = "Plan"
        self._plan: Plan | None = None
        self._message: Span = ("", "dim")
        self._palette: Palette = {}
        self._ascii = False
        self._columns = 0
        self._content = Static(markup=False)

    def compose(self) -> ComposeResult:
        """Compose the text."""
        yield self._content

    def show(self, plan: Plan | None, message: Span, palette: Palette, ascii_only: bool) -> None:
        """Show `plan`, or `message` if it is None."""
        self._plan, self._message, self._palette, self._ascii = plan, message, palette, ascii_only
        self._draw()

    def on_resize(self) -> None:
        """Wrap the lines for the new width."""
        if self.scrollable_content_region.width != self._columns:
            self._draw()

    @property
    def text(self) -> str:
        """The content as plain text."""
        return "\n".join("".join(text for text, _ in spans).rstrip() for spans in self._lines())

    def _lines(self) -> list[Line]:
        if self._columns < 24:
            return []
        if self._plan is not None:
            return plan_lines(self._plan, self._columns)
        text, role = self._message
        return [line((row, role)) for row in wrap(plain(text, 1000), self._columns, 8)]

    def _draw(self) -> None:
        self._columns = self.scrollable_content_region.width
        drawn: Text = as_text(self._lines(), self._palette, self._ascii)
        self._content.update(drawn)
