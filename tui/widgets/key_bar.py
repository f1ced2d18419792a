"""The key bar: the bottom line with all keys and their labels; a click presses the key."""

from __future__ import annotations

from collections.abc import Sequence

from textual.events import Click

from gputrain.tui.layout.key_bindings import Key
from gputrain.tui.render.styled_lines import Line, Span
from gputrain.tui.widgets.panel import Panel, View


def places(keys: Sequence[Key], columns: int) -> list[tuple[int, int, Key, bool]]:
    """First and last cell of each key, and whether its label fits.

    If not all labels fit, the gaps shrink; then the labels of the last keys are dropped. Each key is always shown.
    """
    gap, labelled = 2, len(keys)
    if _width(keys, labelled, gap) > columns:
        gap = 1
    while labelled and _width(keys, labelled, gap) > columns:
        labelled -= 1
    found = []
    x = 1
    for number, key in enumerate(keys):
        wide = number < labelled
        end = x + _cells(key, wide)
        found.append((x, end, key, wide))
        x = end + gap
    return found


def _width(keys: Sequence[Key], labelled: int, gap: int) -> int:
    return 1 + sum(_cells(key, number < labelled) + gap for number, key in enumerate(keys)) - gap


def _cells(key: Key, labelled: bool) -> int:
    return len(key.shown) + (1 + len(key.label) if labelled else 0)


def draw_keys(keys: Sequence[Key], columns: int) -> Line:
    """The keys as one line."""
    spans: list[Span] = []
    x = 0
    for first, end, key, labelled in places(keys, columns):
        spans += [(" " * (first - x), "text"), (key.shown, "title"), (f" {key.label}" if labelled else "", "dim")]
        x = end
    return tuple(spans)


class KeyBar(Panel, can_focus=False):
    """Shows all keys; a click on a key presses it."""

    FRAME = False

    def __init__(self, keys: Sequence[Key], *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._keys = keys

    def offer(self, keys: Sequence[Key]) -> None:
        """Show other keys."""
        if keys != self._keys:
            self._keys = keys
            self.redraw()

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """The line of keys."""
        return [draw_keys(self._keys, columns)]

    async def on_click(self, event: Click) -> None:
        """Run the action of the clicked key."""
        for first, last, key, _ in places(self._keys, self.size.width):
            if first <= event.x < last:
                await self.screen.run_action(key.action)
