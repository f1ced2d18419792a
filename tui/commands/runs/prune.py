"""``gputrain-tui prune``: deletes runs that are too old or take too much disk space; tag ``keep`` protects a run."""

from __future__ import annotations

import argparse
import time

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED, EXIT_STOPPED, BadInput
from gputrain.engine.common.units import size
from gputrain.engine.runs import prune_runs, run_directory
from gputrain.tui.commands.command_messages import print_error
from gputrain.tui.commands.runs.delete import confirmed
from gputrain.tui.render.text_table import print_table


def run(options: argparse.Namespace) -> int:
    """Returns 3 if the user answers no, 1 if a run could not be deleted."""
    if options.older is None and options.total is None:
        raise BadInput("choose what to prune: --older 30d, --total 50G, or both")
    older = prune_runs.age(options.older) if options.older is not None else None
    total = prune_runs.amount(options.total) if options.total is not None else None
    chosen = prune_runs.choose(
        run_directory.list_runs(), now=time.time(), older=older, total=total, keep=options.keep or 0
    )
    if not chosen:
        print("nothing to prune")
        return EXIT_FINISHED
    print_table(("run", "size", "why"), [(one.info.run.id, size(one.bytes), one.why) for one in chosen])
    total_size = size(sum(one.bytes for one in chosen))
    if options.dry_run:
        print(f"would free {total_size}")
        return EXIT_FINISHED
    if not confirmed(f"delete these {len(chosen)} runs ({total_size})?", yes=options.yes):
        return EXIT_STOPPED
    freed, failed = 0, False
    for one in chosen:
        try:
            prune_runs.delete(one.info.run)
            freed += one.bytes
        except BadInput as error:
            # It was resumed meanwhile, or belongs to another user: continue with the others.
            failed = True
            print_error(error)
    print(f"freed {size(freed)}")
    return EXIT_FAILED if failed else EXIT_FINISHED
