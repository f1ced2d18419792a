"""The help of dashboard and monitor: every key and every metric, from the tables that the screens are built from."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.text import Text

from gputrain.tui.layout.key_bindings import Key
from gputrain.tui.metrics.metric_lookup import METRICS
from gputrain.tui.metrics.panel_descriptions import PANEL_METRICS
from gputrain.tui.metrics.run_descriptions import RUN_METRICS
from gputrain.tui.screens.help_screen import add_section, key_rows


def help_text(keys: Sequence[Key], panels: Collection[str]) -> Text:
    """The help on `keys`, and on the metrics of `panels`."""
    text = Text()
    mouse = [("mouse", "A click selects a panel or presses a key of the key bar. A double click opens full screen.")]
    scroll = [("↑ ↓ …", "Scroll the log, with PgUp, PgDn, Home and End, too, or with the mouse wheel.")]
    add_section(text, "Keys", (*key_rows(keys), *mouse, *(scroll if "log" in panels else [])))
    if "hints" in panels:
        text.append("\nHints\n", style="bold")
        text.append("  The problem, its evidence, and → what to do. ● note, ▲ warning, ▲ critical.\n")
    for panel, metrics in _metrics_by_panel(panels).items():
        text.append(f"\n{panel.capitalize()}\n", style="bold")
        for title, meaning, source, advice in metrics:
            text.append(f"  {title}  ", style="bold")
            text.append(f"{meaning}\n")
            text.append(f"      source: {source}\n", style="dim")
            if advice:
                text.append(f"      good: {advice}\n")
    return text


def _metrics_by_panel(panels: Collection[str]) -> dict[str, list[tuple[str, str, str, str]]]:
    """Title, meaning, source and good range of each metric shown in `panels`."""
    found: dict[str, list[tuple[str, str, str, str]]] = {"status": []}
    for metric in METRICS.values():
        title = f"{metric.title} [{metric.unit}]" if metric.unit else metric.title
        found.setdefault(metric.panel, []).append((title, metric.help, metric.source, metric.advice))
    # The monitor has a status line, too, but no run.
    for description in (*RUN_METRICS, *PANEL_METRICS) if "run" in panels else PANEL_METRICS:
        found.setdefault(description.panel, []).append(description[1:])
    return {panel: metrics for panel, metrics in found.items() if panel in panels and metrics}
