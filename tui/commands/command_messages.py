"""Output of commands: screen or lines, errors and progress on stderr."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from gputrain.engine.common.errors import EXIT_FAILED
from gputrain.engine.common.sanitize import plain


def has_screen(options: argparse.Namespace) -> bool:
    """Whether to open a screen: there is a terminal, and neither ``--plain`` nor ``--json`` was given."""
    return not options.plain and not options.json and on_screen()


def on_screen() -> bool:
    """Whether this process has a terminal or runs in a browser, for which textual-serve sets its own driver."""
    return "web_driver" in os.environ.get("TEXTUAL_DRIVER", "") or (sys.stdin.isatty() and sys.stdout.isatty())


def print_error(error: object, limit: int = 1000) -> None:
    """Print an error on stderr as one line without control characters, at most `limit` characters long."""
    print(f"gputrain-tui: {plain(str(error), limit)}", file=sys.stderr, flush=True)


def fail(error: object) -> int:
    """Print `error` and return the exit code of a failed command."""
    print_error(error)
    return EXIT_FAILED


def progress_printer(command: str) -> Callable[[str], None]:
    """A function that prints progress of `command` on stderr."""
    return lambda text: print(f"{command}: {plain(text, 300)}", file=sys.stderr, flush=True)


def show_progress(text: str) -> None:
    """Print a progress text on stderr: over the one before on a terminal, else on a line of its own."""
    end = "\r" if sys.stderr.isatty() else "\n"
    print(f"{plain(text, 100):<60}", end=end, file=sys.stderr, flush=True)
