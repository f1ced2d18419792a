"""Where a command's output goes."""

from __future__ import annotations

import argparse
import os
import sys


def has_screen(options: argparse.Namespace) -> bool:
    """Whether a screen can be shown and was not declined."""
    return not options.plain and not options.json and on_screen()


def on_screen() -> bool:
    """Whether this process has a terminal, or is shown in a browser (textual-serve names the driver for that)."""
    return "web_driver" in os.environ.get("TEXTUAL_DRIVER", "") or (sys.stdin.isatty() and sys.stdout.isatty())
