"""Where a command's output goes."""

from __future__ import annotations

import argparse
import sys


def has_screen(options: argparse.Namespace) -> bool:
    """Whether a screen can be shown and was not declined."""
    return not options.plain and not options.json and sys.stdin.isatty() and sys.stdout.isatty()
