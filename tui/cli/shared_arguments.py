"""Arguments that several commands have."""

from __future__ import annotations

import argparse
from typing import TypeAlias

# In quotes: the class is generic in the stubs alone.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

RUN = "a run's name, part of it, its directory, or: last"


def add_choice(command: argparse.ArgumentParser) -> None:
    """What to run, on what, with which settings."""
    command.add_argument("--recipe", help="what to train (see: gputrain-tui recipes); default: demo")
    command.add_argument("--profile", help="hardware profile; default: the best for this machine")
    command.add_argument("--preset", help="conservative, balanced or aggressive; default: the profile's own")
    command.add_argument("--data", metavar="DIR", help="folder with the data, instead of the recipe's")
    command.add_argument("--config", metavar="FILE", help="the settings of this config.yaml, as a run wrote it")
    command.add_argument(
        "overrides", nargs="*", metavar="setting=value", help="any setting (see: gputrain-tui settings): batch_size=64"
    )


def add_output(command: argparse.ArgumentParser) -> None:
    """How a run is watched: in a dashboard, or as lines."""
    add_low_bandwidth(command)
    output = command.add_mutually_exclusive_group()
    output.add_argument("--plain", action="store_true", help="plain lines, also in a terminal")
    output.add_argument("--json", action="store_true", help="JSON lines: the run's events, then a summary")


def add_low_bandwidth(command: argparse.ArgumentParser) -> None:
    """``--low-bandwidth``, for commands that open a dashboard."""
    what = "for slow lines: the terminal's own colours, new figures every two seconds"
    command.add_argument("--low-bandwidth", action="store_true", help=what)
