"""The status line of the monitor."""

from __future__ import annotations

import socket

from gputrain.engine.common.sanitize import plain
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, Span, fit, groups, line
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.widgets.panel import Panel, View


def state(view: View) -> Span:
    """The state of the monitor, as sign and text."""
    if view.error:
        return f"■ {plain(view.error, 200)}", "bad"
    if view.caught_up and not view.live:
        return f"■ {plain(view.subject, 60)} has ended", "warn"
    return "● monitoring", "good"


def draw_monitor_status(view: View, about: str, host: str, columns: int) -> Line:
    """The status in one line; the least important fields are dropped if it is narrow."""
    now = view.now
    troubles = [entry for entry in now.journal if entry.kind == "error"]
    cost = now.hardware.sample_cost if now.hardware else None
    shown = groups(
        columns - 1,
        line((host, "title")),
        line(state(view)),
        line(("view paused", "warn")) if view.paused else (),
        line((plain(troubles[-1].text, 120), "bad")) if troubles else (),
        line((plain(view.subject, 60), "bright")) if view.subject else (),
        line((f"only processes with “{plain(view.search, 30)}”", "warn")) if view.search else (),
        line((f"every {view.interval:g} s{about}", "text")),
        line((f"for {fmt.duration(now.elapsed)}", "dim")),
        line((f"{cost * 1000:.1f} ms CPU per sample", "dim")) if cost is not None else (),
    )
    return fit((((" "), "text"), *shown), columns)


class MonitorStatusPanel(Panel, can_focus=False):
    """One line without a frame."""

    FRAME = False

    def __init__(self, about: str, *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._about = plain(about, 200)
        self._host = plain(socket.gethostname(), 40)

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The newest sample and the log."""
        return (now.hardware, now.journal)

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw the status."""
        return [draw_monitor_status(view, self._about, self._host, columns)]
