"""The hints panel: problem, evidence and action of each current hint."""

from __future__ import annotations

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import Hint
from gputrain.tui.render.advice_text import promise, verdict
from gputrain.tui.render.styled_lines import Line, line, wrap
from gputrain.tui.render.theme import Role
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.widgets.panel import Panel, View

_SIGNS: dict[str, tuple[str, Role]] = {
    "critical": ("▲ critical: ", "bad"),
    "warning": ("▲ ", "warn"),
    "info": ("● ", "data"),
}


LOOKING = "measuring: hints need two windows of 12 s"
"""Shown before the first diagnosis."""


def draw_hints(view: View, columns: int, rows: int) -> list[Line]:
    """As many hints as fit, most important first, and the number of the others."""
    now = view.now
    if view.died:
        return died_lines(now, columns, rows)
    drawn = _tuned_lines(now, columns) if rows > 3 else []
    if not now.hints:
        return [*drawn, line((_nothing(now), "dim"))]
    first = rows - len(drawn) - 1 if len(now.hints) > 1 and rows > 3 else rows - len(drawn)
    for number, hint in enumerate(now.hints):
        block = hint_lines(hint, columns, first if number == 0 else 6)
        gap = 1 if drawn and rows - len(drawn) > len(block) + 1 else 0
        last = number == len(now.hints) - 1
        if len(drawn) + gap + len(block) > rows - (0 if last else 1) and drawn:
            drawn.append(line((f"and {len(now.hints) - number} more", "dim")))
            return drawn[:rows]
        drawn += [line("")] * gap + block
    return drawn[:rows]


def _tuned_lines(now: Snapshot, columns: int) -> list[Line]:
    """The result of the newest live change."""
    if now.tuned is None or now.outcome is not None:
        return []
    role: Role = "good" if now.tuned.verdict == "kept" else "data"
    return [line((row, role)) for row in wrap(verdict(now.tuned), columns, 2)]


def hint_lines(hint: Hint, columns: int, rows: int) -> list[Line]:
    """One hint: title, evidence, action, predicted effect; evidence is dropped if rows are few."""
    sign, role = _SIGNS[hint.severity]
    title = wrap(sign + plain(hint.title, 400), columns, 1 if rows < 5 else 2)
    left = rows - len(title)
    prediction = f"expected: {promise(hint.prediction)}" if hint.prediction is not None else ""
    expected = wrap(prediction, columns - 4, 2 if left > 5 else 1)
    has_figure = hint.prediction is not None and hint.prediction.high is not None and left > 1
    action = wrap("→ " + plain(hint.action, 600), columns - 4, max(1, min(3, left - len(expected) * has_figure)))
    action += expected if has_figure else []
    evidence = wrap(plain(hint.evidence, 600), columns - 2, min(3, left - len(action))) if left > len(action) else []
    if not has_figure and left > len(action) + len(evidence):
        action += expected
    block = [line((row, role)) for row in title]
    block += [line((f"  {row}", "dim")) for row in evidence]
    block += [line((f"  {row}" if number == 0 else f"    {row}", "text")) for number, row in enumerate(action)]
    return block[:rows] if rows < len(block) else block


def died_lines(now: Snapshot, columns: int, rows: int) -> list[Line]:
    """The text for a run whose supervisor died."""
    saved = now.checkpoints[-1] if now.checkpoints else None
    left = f"the newest checkpoint is from step {saved.step}" if saved else "it has no checkpoint"
    text = f"▲ The supervisor of this run died (killed, or the machine restarted). This is its record; {left}."
    return [line((row, "bad")) for row in wrap(text, columns, rows)]


def _nothing(now: Snapshot) -> str:
    if now.outcome is not None:
        return "the run has ended"
    if now.steps is None:
        return "hints appear after the first steps"
    return "no bottleneck found" if now.judged else LOOKING


class HintsPanel(Panel):
    """Problem, evidence and action of each hint."""

    TITLE = "Hints"

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The current hints."""
        return (now.hints, now.judged, now.tuned, now.outcome, now.steps is None)

    def note(self, view: View) -> str:
        """The number of hints."""
        return str(len(view.now.hints)) if view.now.hints else ""

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """The current hints."""
        return draw_hints(view, columns, rows)
