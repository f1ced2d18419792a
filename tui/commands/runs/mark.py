"""``gputrain-tui mark RUN``: sets name, tags and note of a run."""

from __future__ import annotations

import argparse

from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_marks import write_marks


def run(options: argparse.Namespace) -> int:
    """Change the marks and print them."""
    target = run_directory.find(options.run)
    after = write_marks(target, name=options.name, note=options.note, add=options.tag, remove=options.untag)
    words = [
        f"name {after.name}" if after.name else "",
        f"tags {' '.join(after.tags)}" if after.tags else "",
        after.note,
    ]
    print(f"{target.id}: {'; '.join(filter(None, words)) or 'no marks'}")
    return EXIT_FINISHED
