"""The line at the bottom: each key and what it does; a click does the same."""

from __future__ import annotations

from collections.abc import Sequence

from textual.events import Click

from gputrain.tui.layout.key_table import Key
from gputrain.tui.render.styled_lines import Line, Span, width
from gputrain.tui.widgets.panel import Panel, View


def places(keys: Sequence[Key], columns: int) -> list[tuple[int, int, Key, bool]]:
    """First and last cell of each key, and whether there is room for its label.

    Where the labels of all do not fit, those of the last are left out first; each key is always shown.
    """
    labelled = len(keys)
    while labelled and sum(_cells(key, number < labelled) for number, key in enumerate(keys)) + 1 > columns:
        labelled -= 1
    found = []
    x = 1
    for number, key in enumerate(keys):
        wide = number < labelled
        found.append((x, x + _cells(key, wide) - 1, key, wide))
        x += _cells(key, wide)
    return found


def _cells(key: Key, labelled: bool) -> int:
    return len(key.shown) + (len(key.label) + 3 if labelled else 1)


def draw_keys(keys: Sequence[Key], columns: int) -> Line:
    """The line."""
    spans: list[Span] = [(" ", "text")]
    for _, _, key, labelled in places(keys, columns):
        spans.append((key.shown, "title"))
        spans.append((f" {key.label}  " if labelled else " ", "dim"))
    return tuple(spans) if width(spans) else ()


class KeyBar(Panel, can_focus=False):
    """All keys; a click on one is like pressing it."""

    FRAME = False

    def __init__(self, keys: Sequence[Key], *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._keys = keys

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """The keys."""
        return [draw_keys(self._keys, columns)]

    async def on_click(self, event: Click) -> None:
        """Do what the key at the pointer does."""
        for first, last, key, _ in places(self._keys, self.size.width):
            if first <= event.x < last:
                await self.screen.run_action(key.action)
