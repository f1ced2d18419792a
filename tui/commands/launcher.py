"""Bare ``gputrain-tui``: the launcher."""

from __future__ import annotations

import argparse
import sys

from gputrain.engine.errors import EXIT_FAILED, BadInput


def run(_options: argparse.Namespace) -> int:
    """Open the launcher; returns the exit code of the run that it started, 0 if none."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput(
            "the launcher needs a terminal; without one: gputrain-tui train --recipe demo, gputrain-tui runs, "
            "gputrain-tui tail last (see gputrain-tui --help)"
        )
    from gputrain.tui.app import GpuTrainApp

    app = GpuTrainApp()
    code = app.run()
    if app.leaving is not None:
        print(app.leaving.farewell)
    return code if code is not None else EXIT_FAILED
