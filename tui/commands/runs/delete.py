"""``gputrain-tui delete RUN…``: deletes runs with all their files."""

from __future__ import annotations

import argparse
import sys

from gputrain.engine.common.errors import EXIT_FINISHED, EXIT_STOPPED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import size
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.delete_runs import check_deletable, delete, size_of


def run(options: argparse.Namespace) -> int:
    """Returns 3 if the user answers no."""
    targets = list(dict.fromkeys(map(run_directory.find, options.run)))
    live = [target.id for target in targets if target.is_live()]
    if live:
        raise BadInput(f"{', '.join(live)}: running; stop it first: gputrain-tui stop {live[0]}")
    for target in targets:
        check_deletable(target)
    total = sum(map(size_of, targets))
    # The whole path, because a run given by path may be anywhere.
    what = plain(str(targets[0].directory), 300) if len(targets) == 1 else f"{len(targets)} runs"
    if not confirmed(f"delete {what} ({size(total)})?", yes=options.yes):
        return EXIT_STOPPED
    for target in targets:
        delete(target)
        print(f"deleted {target.id}")
    return EXIT_FINISHED


def confirmed(question: str, *, yes: bool) -> bool:
    """Whether the user agrees, by ``--yes`` or at the terminal. Raises BadInput without a terminal."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise BadInput(f"{question} no terminal to ask for confirmation: add --yes")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
