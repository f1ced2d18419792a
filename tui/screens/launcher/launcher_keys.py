"""The keys of the launcher, for its bindings, the key bar and the help; and its help text."""

from __future__ import annotations

from rich.text import Text

from gputrain.tui.layout.key_bindings import Key
from gputrain.tui.screens.help_screen import add_section, key_rows

KEYS = (
    Key("q,f10", "q", "quit", "leave", "Quit without starting a run."),
    Key("question_mark,f1", "?", "help", "explain", "Show this help."),
    Key(
        "enter",
        "enter",
        "start",
        "start",
        "Start the planned run, or type a command of your own. In the data field: accept the folder.",
    ),
    Key("p,right", "p", "preset", "preset(1)", "Select the next preset; ← selects the previous one."),
    Key("e", "e", "edit", "edit", "Change a setting. Your value overrides recipe, profile and preset."),
    Key("c", "c", "check", "check", "Check driver, torch, GPUs, CPU, memory and disk, and test the speed."),
    Key("m", "m", "calibrate", "calibrate", "Measure the recipe on this machine; the plan then predicts its speed."),
    Key("l", "l", "runs", "runs", "List all runs: watch, resume, clone, compare, name, delete."),
    # In a narrow window the key bar drops the labels of the last keys.
    Key("b", "b", "bench", "bench", "Measure the speed of default settings, of each optimization, and of the plan."),
    Key("a", "a", "alerts", "alerts", "Show where alerts of runs go, and send a test to every target."),
    Key("r", "r", "reset", "reset", "Undo all your changes of settings; the data folder stays."),
)

_MOVING = (
    ("↑ ↓", "Select in a list, or scroll the plan."),
    ("tab", "Go to the next list or field; shift+tab goes back."),
)
_SIGNS = (
    ("● detected", "the profile matches this machine: name, memory and generation of its GPU"),
    ("■ refused", "the plan cannot start; the text says what to change"),
    ("▲ warning", "the run can start, but something will be slow, short of memory, or not as requested"),
    ("◆ adjusted", "a file requests what this machine does not support; the plan uses something else"),
)
_ORIGINS = (
    "Settings come from several sources. Later ones override earlier ones: defaults, the recipe, the profile, this "
    "machine, the preset, what the recipe requires, and you. The plan lists only settings that differ from their "
    "default."
)


def help_text() -> Text:
    """Keys, signs, and where settings come from."""
    text = Text()
    add_section(text, "Keys", (*_MOVING, *key_rows(KEYS)))
    add_section(text, "Signs", _SIGNS)
    text.append("\nThe plan\n", style="bold").append(_ORIGINS)
    return text
