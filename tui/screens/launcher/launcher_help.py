"""The launcher's keys, once: for its bindings, the line at the bottom and the help."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from gputrain.tui.layout.key_table import Key
from gputrain.tui.render.styled_lines import to_ascii
from gputrain.tui.screens.text_screen import TextScreen

KEYS = (
    Key("q,f10", "q", "quit", "leave", "Leave without starting anything."),
    Key("question_mark,f1", "?", "help", "explain", "This help."),
    Key("enter", "enter", "start", "start", "Start the run of the plan. In the data field: take the folder."),
    Key("p,right", "p", "preset", "preset(1)", "The next preset; ← goes to the one before."),
    Key("e", "e", "edit", "edit", "Change a setting; it then wins over recipe, profile and preset."),
    Key("c", "c", "check", "check", "Check driver, torch, GPUs, CPU, memory and disk, and test the speed."),
    Key("m", "m", "calibrate", "calibrate", "Measure the recipe here; the plan then foretells its speed."),
    Key("l", "l", "runs", "runs", "Look through all runs: watch, resume, clone, compare, name, delete."),
    # In a narrow window the labels of the last are left out.
    Key("b", "b", "bench", "bench", "Measure standard settings, each optimization on top, and the plan, side by side."),
    Key("r", "r", "reset", "reset", "Take back all changed settings; the data folder stays."),
)

_SIGNS = (
    ("● detected", "the profile is for this machine: its GPU's name, memory and generation fit"),
    ("■ refused", "the plan cannot run as it is; the text says what to change"),
    ("▲ warning", "it can run, but something will be slow, tight or other than asked for"),
    ("◆ adjusted", "a file asked for what this machine cannot do; something else is used"),
)

_ORIGINS = (
    "Settings come from several places. Later ones win: defaults, the recipe, the profile, this machine, the preset, "
    "what the recipe requires, and you. Only settings that are not left at their default are listed."
)


def help_text(ascii_only: bool) -> Text:
    """The whole help."""
    text = Text()
    text.append("Keys\n", style="bold")
    text.append("  ↑ ↓      ", style="bold").append("Choose in a list, or scroll the plan.\n")
    text.append("  tab      ", style="bold").append("Go to the next list or field; shift+tab to the one before.\n")
    for key in KEYS:
        text.append(f"  {key.shown:<9}", style="bold").append(f"{key.help}\n")
    text.append("\nSigns\n", style="bold")
    for sign, meaning in _SIGNS:
        text.append(f"  {sign:<12}", style="bold").append(f"{meaning}\n")
    text.append("\nThe plan\n", style="bold").append(_ORIGINS)
    if ascii_only:
        text.plain = to_ascii(text.plain)
    return text


class LauncherHelpScreen(TextScreen):
    """The help; any of the usual keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark,f1", "close", "close")]

    def __init__(self, ascii_only: bool) -> None:
        super().__init__("Help", help_text(ascii_only))
