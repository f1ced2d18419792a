"""The keys of the runs screen, for its bindings, the key bar and the help; and its help text."""

from __future__ import annotations

from rich.text import Text

from gputrain.tui.layout.key_bindings import Key
from gputrain.tui.screens.help_screen import add_section, key_rows

KEYS = (
    Key("q,escape,f10", "q", "back", "leave", "Back to the launcher, or quit. Runs continue."),
    Key("question_mark,f1,h", "?", "help", "explain", "Show this help."),
    Key("enter", "enter", "watch", "attach", "Open the dashboard of the highlighted run; q there comes back."),
    Key("space", "space", "select", "choose", "Select or deselect the run, for compare and delete."),
    Key("c", "c", "compare", "compare", "Compare the selected runs: curves, settings, results, bottlenecks."),
    Key("slash", "/", "find", "find", "Show only runs with all these words in id, name, tags, note or recipe."),
    Key("f", "f", "state", "filter", "Show only runs in one state. Press again for the next state, then for all."),
    Key("o", "o", "sort", "order", "Change the order: newest, name, state, recipe, steps, speed, best, time taken."),
    Key("s", "s", "stop", "stop", "Stop the run after a checkpoint; a script of your own by SIGINT."),
    Key(
        "r",
        "r",
        "resume",
        "resume",
        "Continue from a checkpoint; settings can change. The command of a script starts again.",
    ),
    Key(
        "l",
        "l",
        "clone",
        "clone",
        "Start a new run with its settings, some changed, or with its command.",
    ),
    Key("n", "n", "name", "mark('name')", "Name the run; commands accept the name."),
    Key("t", "t", "tags", "mark('tags')", "Set its tags; prune never deletes runs tagged keep."),
    Key("e", "e", "note", "mark('note')", "Write a note about the run."),
    Key("x", "x", "export", "export", "Write its curves to a file: .csv, or .png, .svg or .pdf with matplotlib."),
    Key("d,delete", "d", "delete", "delete", "Delete the selected runs, or the highlighted one, with all files."),
)

_MOVING = (
    ("↑ ↓ PgUp PgDn Home End", "Move through the runs; the mouse works, too."),
    ("← →", "Scroll the columns."),
)
_COLUMNS = (
    ("*", "selected with the space bar"),
    ("run", "start time and name; the line below the table shows all details of the highlighted run"),
    ("speed", "images per second; of a script of your own: samples, tokens or steps"),
    ("best", "best value of the metric that selects the best checkpoint"),
    ("took", "time from start to end, or until now"),
)


def help_text() -> Text:
    """Keys and columns."""
    text = Text()
    add_section(text, "Moving", _MOVING)
    add_section(text, "Keys", key_rows(KEYS))
    add_section(text, "Columns", _COLUMNS)
    return text
