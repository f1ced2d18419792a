"""Runs the Textual application for a command, and reports how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gputrain.engine.common.errors import EXIT_SCREEN_FAILED
from gputrain.tui.commands.command_messages import print_error
from gputrain.tui.render.format import run_continues
from gputrain.tui.terminal import gc_pause

if TYPE_CHECKING:
    from gputrain.tui.app import GpuTrainApp


def show_app(make: Callable[[type[GpuTrainApp]], GpuTrainApp], run_id: str = "") -> int:
    """Run the application that `make` creates. Returns the exit code.

    `run_id`: the run that it shows from the start. After a crash of the screen, Textual has printed the traceback; the
    message below it says which run continues, and the exit code is `EXIT_SCREEN_FAILED`.
    """
    gc_pause.pause_gc()
    from gputrain.tui.app import GpuTrainApp

    app = make(GpuTrainApp)
    code = app.run()
    if code is None:
        live = app.shown_run or run_id
        what = run_continues(live) if live else "runs continue; list them with: gputrain-tui runs"
        print_error(f"the screen closed because of an error; {what}", limit=600)
        return EXIT_SCREEN_FAILED
    if app.quit_result is not None:
        print(app.quit_result.exit_message)
    return code
