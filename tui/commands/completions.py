"""``gputrain-tui completions SHELL``: the code that makes a shell complete the command line."""

from __future__ import annotations

import argparse
import sys

from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.tui.cli.shell_completion import shell_code


def run(options: argparse.Namespace) -> int:
    """Print the code for the shell."""
    sys.stdout.write(shell_code(options.shell))
    return EXIT_FINISHED
