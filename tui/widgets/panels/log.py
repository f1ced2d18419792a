"""The log panel: output of the trainer and events, newest at the bottom, with scrolling and search."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import MouseScrollDown, MouseScrollUp

from gputrain.engine.common.sanitize import plain
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, line
from gputrain.tui.render.theme import Role
from gputrain.tui.state.run_snapshot import Entry, Snapshot
from gputrain.tui.widgets.panel import Panel, View

_ROLES: dict[str, Role] = {"log": "text", "info": "dim", "good": "good", "warning": "warn", "error": "bad"}
_WORDS = {"warning": "warning: ", "error": "error: "}


def matching(view: View) -> tuple[Entry, ...]:
    """The lines that contain the search text, ignoring case; all lines without a search."""
    if not view.search:
        return view.now.journal
    wanted = view.search.casefold()
    return tuple(entry for entry in view.now.journal if wanted in entry.text.casefold())


def entry_line(entry: Entry) -> Line:
    """One line with its local time."""
    clock = fmt.clock(entry.wall)
    return line((f"{clock} ", "dim"), (_WORDS.get(entry.kind, "") + plain(entry.text, 1000), _ROLES[entry.kind]))


class LogPanel(Panel):
    """The log; follows new lines until it is scrolled up."""

    TITLE = "Log"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll(1)", "up", show=False),
        Binding("down,j", "scroll(-1)", "down", show=False),
        Binding("pageup", "page(1)", "page up", show=False),
        Binding("pagedown", "page(-1)", "page down", show=False),
        Binding("home,g", "scroll(100000)", "first line", show=False),
        Binding("end,G", "scroll(-100000)", "last line", show=False),
    ]

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._bottom: int | None = None
        """Index (over all lines ever logged) of the line below the visible ones; None follows the end."""

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The log lines."""
        return (now.journal,)

    def note(self, view: View) -> str:
        """The search, or that the log is scrolled up."""
        if view.search:
            return f"/{plain(view.search, 40)}: {len(matching(view))} of {len(view.now.journal)} lines"
        return "" if self._bottom is None else "scrolled up · End: follow"

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """The lines that fit, up to the scroll position."""
        found = matching(view)
        end = len(found)
        if self._bottom is not None:
            end = max(min(rows, end), min(end, end - (view.now.journal_count - self._bottom)))
        return [entry_line(entry) for entry in found[max(0, end - rows) : end]]

    def action_scroll(self, up: int) -> None:
        """Scroll by lines; at the end, follow new lines again."""
        count, shown = self._view.now.journal_count, len(matching(self._view))
        rows = max(1, self.size.height - 2)
        bottom = (count if self._bottom is None else self._bottom) - up
        bottom = max(bottom, count - shown + rows)
        self._bottom = None if bottom >= count else bottom
        self.redraw()

    def action_page(self, up: int) -> None:
        """Scroll by pages."""
        self.action_scroll(up * max(1, self.size.height - 3))

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """Scroll up by three lines."""
        event.stop()
        self.action_scroll(3)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """Scroll down by three lines."""
        event.stop()
        self.action_scroll(-3)
