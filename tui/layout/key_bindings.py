"""The key tables of dashboard and monitor, for bindings, key bar and help."""

from __future__ import annotations

from msgspec import Struct


class Key(Struct, frozen=True):
    """One key and its action."""

    keys: str
    """Textual key names, comma-separated."""
    shown: str
    label: str
    """One or two words."""
    action: str
    help: str


KEYS = (
    Key("q,f10", "q", "quit", "leave", "Quit. If the run is live, asks whether to detach or to stop it."),
    Key("question_mark,f1,h", "?", "help", "explain", "Show this help on all keys and metrics."),
    Key("space", "space", "pause view", "pause_view", "Pause the view; the run continues. Press again to catch up."),
    Key("s", "s", "stop", "stop_run", "Stop the run; asks whether to write a checkpoint first."),
    Key("c", "c", "checkpoint", "checkpoint", "Write a checkpoint after the current step."),
    Key("a", "a", "apply", "apply", "Try the first hint whose setting can change while training; kept if it helps."),
    Key("i", "i", "why", "why", "Explain the hints: evidence, decisions, and what would disprove them."),
    Key("k", "k", "stacks", "stacks", "Show the stacks of all threads of trainer, ranks and data workers."),
    Key("p", "p", "profile", "profile", "Record the next 10 steps with torch's profiler and show what took the time."),
    Key("d", "d", "detach", "detach", "Close the dashboard; the run continues in the background."),
    Key(
        "tab",
        "tab",
        "panel",
        "next_panel(1)",
        "Select the next panel (shift+tab: previous); hidden panels open full screen.",
    ),
    Key(
        "f,enter", "f", "full", "full_screen", "Show the selected panel full screen. Press again, or Escape, to return."
    ),
    Key("plus,equals_sign", "+", "zoom in", "zoom(1)", "Charts show a shorter time: last hour, 15 min, 5 min, 1 min."),
    Key("minus", "-", "zoom out", "zoom(-1)", "Charts show a longer time, up to the whole run."),
    Key("slash", "/", "search", "search", "Show only log lines that contain a text; Escape ends the search."),
    Key(
        "m",
        "m",
        "ranks",
        "next_measure",
        "Show the ranks of a run on several devices; again: own time, step time, data wait, exchange.",
    ),
    Key("e", "e", "export", "export_view", "Write this screen as an SVG image to the current folder."),
    Key("E", "E", "curves", "export_curves", "Write the curves as CSV (and SVG, if matplotlib is installed)."),
    Key("ctrl+p", "^p", "palette", "app.command_palette", "Search all commands and themes by name."),
)

INNER_KEYS = (
    Key("q,f10", "q", "back", "leave", "Back to the list of runs (or Escape). The run continues."),
    *(key for key in KEYS if key.action not in ("leave", "detach")),
)
"""For a dashboard opened from the list of runs."""

_ONLY_FOR_RUNS = (
    *("leave", "explain", "pause_view", "stop_run", "checkpoint"),
    *("apply", "why", "stacks", "profile", "detach", "search", "next_measure"),
)

MONITOR_KEYS = (
    Key("q,f10", "q", "quit", "leave", "Quit. This also ends the file of --log."),
    Key("question_mark,f1,h", "?", "help", "explain", "Show this help on all keys and metrics."),
    Key("space", "space", "pause view", "pause_view", "Pause the view; measuring goes on. Press again to catch up."),
    *(key for key in KEYS if key.action not in _ONLY_FOR_RUNS and key.keys != "ctrl+p"),
    Key("slash", "/", "filter", "search", "Show only processes that contain a text; Escape ends the search."),
    Key("m,f6", "m", "sort", "sort", "Sort processes by memory or by CPU."),
    Key("less_than_sign", "<", "faster", "interval(-1)", "Sample more often, down to 5 times a second."),
    Key("greater_than_sign", ">", "slower", "interval(1)", "Sample less often, up to once a minute."),
    KEYS[-1],
)
"""For the monitor, which has no run."""
