"""The reasons behind the hints: evidence, the decisions that led to them, what would disprove them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import Hint
from gputrain.tui.render.advice_text import promise, settings_words
from gputrain.tui.screens.text_screen import TextScreen

_STYLES = {"✓": "bold", "?": "italic", "✗": "dim", "–": "dim"}


def why_text(hints: Sequence[Hint]) -> Text:
    """All hints with the decisions that led to them."""
    text = Text()
    shown: tuple[str, ...] = ()
    for number, hint in enumerate(hints):
        text.append("\n\n" if number else "")
        _add(text, hint, same_path=bool(shown) and hint.path == shown)
        shown = hint.path
    if not hints:
        text.append("No bottleneck found. A hint appears when two windows of 12 s in a row show the same cause.")
    return text


def _add(text: Text, hint: Hint, *, same_path: bool) -> None:
    cost = f", about {100 * hint.share:.0f} % of the time" if hint.share else ""
    text.append(f"{plain(hint.title, 400)}", style="bold")
    text.append(f"  {hint.severity}{cost}\n", style="dim")
    text.append("evidence  ", style="dim").append(f"{plain(hint.evidence, 1000)}\n")
    text.append("action    ", style="dim").append(f"{plain(hint.action, 1000)}\n")
    if hint.changes:
        text.append("settings  ", style="dim").append(f"{settings_words(hint.changes)}\n")
    if hint.prediction is not None:
        text.append("expected  ", style="dim").append(f"{promise(hint.prediction)}\n")
    if hint.disproof:
        text.append("wrong if  ", style="dim").append(f"{plain(hint.disproof, 400)}\n")
    if same_path:
        text.append("decisions: as above\n", style="dim")
        return
    if hint.path:
        text.append("decisions in order (✓ true, ✗ false, ? not measured, – not evaluated)\n", style="dim")
    for step in hint.path:
        shown = plain(step, 400)
        # Two pieces: a wrapped line goes on below its text, not below its sign.
        style = _STYLES.get(shown[:1], "")
        text.append(f"  {shown[:2]}", style=style).append(f"{shown[2:]}\n", style=style)


class WhyScreen(TextScreen):
    """Shows the reasons over the dashboard; key i closes it, too."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("i", "close", "close")]

    def __init__(self, hints: Sequence[Hint], ascii_only: bool) -> None:
        super().__init__("Why", why_text(hints), ascii_only)
