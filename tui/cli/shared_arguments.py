"""Command line arguments that several commands share."""

from __future__ import annotations

import argparse
from typing import TypeAlias

# In quotes: the class is generic in the stubs alone.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

RUN = "name or id of a run, part of it, its directory, or: last"
RUN_OR_REMOTE = f"{RUN}; HOST:RUN is a run on another machine, over ssh"
FORCE = "start even if the plan predicts too little memory or the weights do not fit the model"
DETACH = "start the run in the background, print its id and exit"


def add_choice(command: argparse.ArgumentParser) -> None:
    """Add the options that choose recipe, profile, data and settings."""
    command.add_argument("--recipe", help="what to train (list: gputrain-tui recipes; default: demo)")
    command.add_argument(
        "--profile", help="hardware profile (list: gputrain-tui profiles; default: the best match for this machine)"
    )
    command.add_argument("--preset", help="conservative, balanced or aggressive (default: set by the profile)")
    command.add_argument(
        "--data", metavar="DIR", help="data folder, URL of shards, or hf:NAME in place of the recipe's"
    )
    command.add_argument(
        "--hosts", metavar="A,B", help="train on these machines over ssh, each [user@]host[:port] (the setting hosts)"
    )
    command.add_argument("--config", metavar="FILE", help="take all settings from a config.yaml that a run wrote")
    command.add_argument(
        "overrides",
        nargs="*",
        metavar="setting=value",
        help="settings to override, as batch_size=64 (list: gputrain-tui settings)",
    )


def add_output(command: argparse.ArgumentParser) -> None:
    """Add the options that choose between dashboard, plain lines and JSON lines."""
    add_low_bandwidth(command)
    output = command.add_mutually_exclusive_group()
    output.add_argument("--plain", action="store_true", help="print plain lines instead of the dashboard")
    output.add_argument("--json", action="store_true", help="print JSON lines: the run's events, then a summary")


def add_low_bandwidth(command: argparse.ArgumentParser) -> None:
    """Add ``--low-bandwidth``, for commands that open a dashboard."""
    what = "for slow connections: the terminal's own colors, an update every two seconds"
    command.add_argument("--low-bandwidth", action="store_true", help=what)
