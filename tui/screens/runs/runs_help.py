"""The keys of the runs screen, once: for its bindings, the line at the bottom and the help."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from gputrain.tui.layout.key_table import Key
from gputrain.tui.render.styled_lines import to_ascii
from gputrain.tui.screens.text_screen import TextScreen

KEYS = (
    Key("q,escape,f10", "q", "back", "leave", "Back to the launcher, or leave; runs go on."),
    Key("question_mark,f1,h", "?", "help", "explain", "This help."),
    Key("enter", "enter", "watch", "attach", "Watch the run under the cursor; q there comes back."),
    Key("space", "space", "choose", "choose", "Choose the run for comparing or deleting, or no longer."),
    Key("c", "c", "compare", "compare", "Compare the chosen runs: curves, settings, figures, what held each back."),
    Key("slash", "/", "find", "find", "Show only runs with some words in id, name, tags, note or recipe."),
    Key("f", "f", "state", "filter", "Show only runs in one state; again: in the next one, then all."),
    Key("o", "o", "sort", "order", "Sort by the next of: newest, name, state, recipe, steps, speed, best, time taken."),
    Key("s", "s", "stop", "stop", "Stop the run after a checkpoint."),
    Key("r", "r", "resume", "resume", "Go on from its last or best checkpoint, or one of a step; with other settings."),
    Key("l", "l", "clone", "clone", "Start a new run with its settings, some of them changed."),
    Key("n", "n", "name", "mark('name')", "Give it a name, by which commands find it."),
    Key("t", "t", "tags", "mark('tags')", "Give it tags; prune leaves runs tagged keep alone."),
    Key("e", "e", "note", "mark('note')", "Note a sentence about it."),
    Key("x", "x", "export", "export", "Write its curves to a file: .csv, and .png, .svg or .pdf with matplotlib."),
    Key("d,delete", "d", "delete", "delete", "Delete the chosen runs, or the one under the cursor, with all files."),
)

_COLUMNS = (
    ("*", "chosen with the space bar"),
    ("run", "when it was started, and what; the line below the table tells the rest of the run under the cursor"),
    ("best", "the metric that decides, at its best validation"),
    ("took", "from its start to its end, or to now"),
)


def help_text(ascii_only: bool) -> Text:
    """The whole help."""
    text = Text()
    text.append("Keys\n", style="bold")
    text.append("  ↑ ↓ PgUp PgDn Home End  ", style="bold").append("Go through the runs; the mouse does too.\n")
    text.append("  ← →    ", style="bold").append("See the columns to the sides.\n")
    for key in KEYS:
        text.append(f"  {key.shown:<7}", style="bold").append(f"{key.help}\n")
    text.append("\nColumns\n", style="bold")
    for title, meaning in _COLUMNS:
        text.append(f"  {title:<7}", style="bold").append(f"{meaning}\n")
    if ascii_only:
        text.plain = to_ascii(text.plain)
    return text


class RunsHelpScreen(TextScreen):
    """The help; any of the usual keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark,f1,h", "close", "close")]

    def __init__(self, ascii_only: bool) -> None:
        super().__init__("Help", help_text(ascii_only))
