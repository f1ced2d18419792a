"""The keys of dashboard and monitor, once: for the bindings, for the line at the bottom and for the help."""

from __future__ import annotations

from msgspec import Struct


class Key(Struct, frozen=True):
    """One key and what it does."""

    keys: str
    """As Textual names them, comma-separated."""
    shown: str
    label: str
    """One or two words."""
    action: str
    help: str


KEYS = (
    Key("q,f10", "q", "quit", "leave", "Leave. With a run going, asks whether to detach, stop or stay."),
    Key("question_mark,f1,h", "?", "help", "explain", "This help: every key, every figure."),
    Key("space", "space", "pause view", "pause_view", "Hold the view still; the run goes on. Again: catch up."),
    Key("s", "s", "stop", "stop_run", "Stop the run; asks whether after a checkpoint or at once."),
    Key("c", "c", "checkpoint", "checkpoint", "Write a checkpoint after the current step."),
    Key("a", "a", "apply", "apply", "Try the first advice that a running training can take; kept if it helps."),
    Key("i", "i", "why", "why", "Why the hints say so: evidence, what was asked, what else it could be."),
    Key("d", "d", "detach", "detach", "Leave the run alone and give the terminal back."),
    Key("tab", "tab", "panel", "next_panel(1)", "Go to the next panel (shift+tab: back); hidden ones fill the screen."),
    Key("f,enter", "f", "full", "full_screen", "Give the panel the whole screen; again or Escape: back."),
    Key("plus,equals_sign", "+", "zoom in", "zoom(1)", "Charts over a shorter time: hour, 15, 5 minutes, one minute."),
    Key("minus", "-", "zoom out", "zoom(-1)", "Charts over a longer time, up to the whole run."),
    Key("slash", "/", "search", "search", "Show only log lines that hold a text; Escape ends it."),
    Key("e", "e", "export", "export_view", "Write this view as a picture (SVG) into the current folder."),
    Key("E", "E", "curves", "export_curves", "Write the curves as CSV, and as SVG if matplotlib is installed."),
    Key("ctrl+p", "^p", "palette", "app.command_palette", "All commands and themes by name."),
)

INNER_KEYS = (
    Key("q,f10", "q", "back", "leave", "Back to the list of runs; Escape does the same. The run goes on."),
    *(key for key in KEYS if key.action not in ("leave", "detach")),
)
"""For a run that was opened from the list of runs."""

_ONLY_FOR_RUNS = ("leave", "stop_run", "checkpoint", "apply", "why", "detach", "search")

MONITOR_KEYS = (
    Key("q,f10", "q", "quit", "leave", "Leave; a log that was asked for ends with it."),
    *(key for key in KEYS if key.action not in _ONLY_FOR_RUNS and key.keys != "ctrl+p"),
    Key("slash", "/", "filter", "search", "Show only processes whose line holds a text; Escape ends it."),
    Key("m,f6", "m", "sort", "sort", "Sort processes by memory, or by CPU again."),
    Key("less_than_sign", "<", "faster", "interval(-1)", "Sample more often, down to 5 times a second."),
    Key("greater_than_sign", ">", "slower", "interval(1)", "Sample less often, up to once a minute."),
    KEYS[-1],
)
"""Without a run there is nothing to stop, save or leave."""
