"""Bare ``gputrain-tui``: the launcher."""

from __future__ import annotations

import argparse

from gputrain.engine.common.errors import EXIT_FAILED, BadInput
from gputrain.tui.commands.output import on_screen
from gputrain.tui.terminal import gc_pause


def run(_options: argparse.Namespace) -> int:
    """Open the launcher; returns the exit code of the run that it started, 0 if none."""
    if not on_screen():
        raise BadInput(
            "the launcher needs a terminal; without one: gputrain-tui train --recipe demo, gputrain-tui runs, "
            "gputrain-tui tail last (see gputrain-tui --help)"
        )
    gc_pause.pause_gc()
    from gputrain.tui.app import GpuTrainApp

    app = GpuTrainApp()
    code = app.run()
    if app.quit_result is not None:
        print(app.quit_result.exit_message)
    return code if code is not None else EXIT_FAILED
