"""Formats the findings of the system check as lines for a screen. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gputrain.engine.check import findings
from gputrain.engine.check.findings import Level
from gputrain.engine.common.sanitize import plain
from gputrain.tui.actions.run_check import Checked
from gputrain.tui.render.styled_lines import EMPTY, Line, Span, line, pad, wrap
from gputrain.tui.render.theme import Role

_SIGNS: dict[Level, tuple[str, Role]] = {
    "ok": ("● ", "good"),
    "note": ("◆ ", "data"),
    "warning": ("▲ ", "warn"),
    "problem": ("■ ", "bad"),
}
_TOPIC, _TITLE = 10, 19
_MOST_ROWS = 6


def finding_lines(findings: Sequence[findings.Line], columns: int) -> list[Line]:
    """The findings; each topic is printed once, and a blank line separates topics."""
    rows: list[Line] = []
    topic = ""
    room = max(20, columns - _TOPIC - _TITLE - 2)
    for found in findings:
        if topic and found.topic != topic:
            rows.append(EMPTY)
        head = found.topic if found.topic != topic else ""
        topic = found.topic
        sign, role = _SIGNS[found.level]
        text = plain(found.text, 800) if found.level == "ok" else f"{found.level}: {plain(found.text, 800)}"
        for number, part in enumerate(wrap(text, room, _MOST_ROWS)):
            first = number == 0
            rows.append(
                line(
                    (pad(head if first else "", _TOPIC), "title"),
                    (sign if first else "  ", role),
                    (pad(plain(found.title, 40) if first else "", _TITLE), "dim"),
                    (part, "text" if found.level in ("ok", "note") else role),
                )
            )
    return rows


def end_lines(checked: Checked, columns: int) -> list[Line]:
    """The verdict with its reasons, and the advice. The screen shows them above the findings."""
    verdict: Span = (
        ("● a run works on this machine", "good") if checked.works else ("■ a run does not work on this machine", "bad")
    )
    rows: list[Line] = [line(verdict)]
    for found in checked.lines:
        if found.level == "problem":
            rows += [line((f"  {row}", "bad")) for row in wrap(plain(found.text, 800), columns - 2, 3)]
    if commands := findings.advice(checked.lines):
        rows += [EMPTY, line(("Advice: commands to review before running them; none was run", "title"))]
        rows += [line(f"  {row}") for command in commands for row in wrap(plain(command, 300), columns - 2, 3)]
    return [*rows, EMPTY]
