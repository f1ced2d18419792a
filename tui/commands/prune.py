"""``gputrain-tui prune``: remove runs that are too old or take too much room; those tagged ``keep`` stay."""

from __future__ import annotations

import argparse
import time

from gputrain.engine import pruning, runs
from gputrain.engine.errors import EXIT_FINISHED, EXIT_STOPPED, BadInput
from gputrain.engine.units import size
from gputrain.tui.commands.delete import confirmed
from gputrain.tui.commands.table import print_table


def run(options: argparse.Namespace) -> int:
    """Returns 3 if the person says no."""
    if options.older is None and options.total is None:
        raise BadInput("prune what? --older 30d, --total 50G, or both")
    older = pruning.age(options.older) if options.older is not None else None
    total = pruning.amount(options.total) if options.total is not None else None
    chosen = pruning.choose(runs.list_runs(), now=time.time(), older=older, total=total, keep=options.keep or 0)
    if not chosen:
        print("nothing to prune")
        return EXIT_FINISHED
    print_table(("run", "size", "why"), [(one.info.run.id, size(one.bytes), one.why) for one in chosen])
    room = size(sum(one.bytes for one in chosen))
    if options.dry_run:
        print(f"would free {room}")
        return EXIT_FINISHED
    if not confirmed(f"delete these {len(chosen)} runs ({room})?", yes=options.yes):
        return EXIT_STOPPED
    for one in chosen:
        pruning.delete(one.info.run)
    print(f"freed {room}")
    return EXIT_FINISHED
