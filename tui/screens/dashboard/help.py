"""Every key and every figure explained, from the tables that the screen itself is made from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from gputrain.tui.layout.key_table import Key
from gputrain.tui.metrics.metric_table import METRICS
from gputrain.tui.metrics.panel_descriptions import FIGURES
from gputrain.tui.metrics.run_descriptions import RUN_METRICS
from gputrain.tui.render.styled_lines import to_ascii
from gputrain.tui.screens.text_screen import TextScreen


def help_text(keys: Sequence[Key], panels: Collection[str], ascii_only: bool) -> Text:
    """The help on `keys`, and on the figures of `panels` and of the curves."""
    text = _help(keys, panels)
    if ascii_only:
        # Replaced cell by cell, so the styles stay where they are.
        text.plain = to_ascii(text.plain)
    return text


def _help(keys: Sequence[Key], panels: Collection[str]) -> Text:
    text = Text()
    text.append("Keys\n", style="bold")
    for key in keys:
        text.append(f"  {key.shown:<7}", style="bold")
        text.append(f"{key.help}\n")
    text.append("  The mouse: a click chooses a panel or presses a key below, a double click is full screen.\n")
    if "log" in panels:
        text.append("  ↑ ↓ PgUp PgDn Home End  scroll the log; the mouse wheel does too.\n")
    if "hints" in panels:
        text.append("\nHints\n", style="bold")
        text.append("  What is wrong, how that is known, and → what to do. ● note, ▲ warning, ▲ critical.\n")
    for panel, figures in _figures(panels).items():
        text.append(f"\n{panel.capitalize()}\n", style="bold")
        for title, what, source, advice in figures:
            text.append(f"  {title}  ", style="bold")
            text.append(f"{what}\n")
            text.append(f"      from: {source}\n", style="dim")
            if advice:
                text.append(f"      good: {advice}\n")
    return text


def _figures(panels: Collection[str]) -> dict[str, list[tuple[str, str, str, str]]]:
    """What is shown in each of `panels`: title, meaning, source, what is good."""
    found: dict[str, list[tuple[str, str, str, str]]] = {"status": []}
    for metric in METRICS.values():
        title = f"{metric.title} [{metric.unit}]" if metric.unit else metric.title
        found.setdefault(metric.panel, []).append((title, metric.help, metric.source, metric.advice))
    # The monitor has a status too, but no run.
    for figure in (*RUN_METRICS, *FIGURES) if "run" in panels else FIGURES:
        found.setdefault(figure.panel, []).append(figure[1:])
    return {panel: figures for panel, figures in found.items() if panel in panels and figures}


class HelpScreen(TextScreen):
    """The help; any of the usual keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark,f1,h", "close", "close")]

    def __init__(self, keys: Sequence[Key], panels: Collection[str], ascii_only: bool) -> None:
        super().__init__("Help", help_text(keys, panels, ascii_only))
