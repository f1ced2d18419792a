"""Runs the Textual application for a command, and reports how it ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NoReturn

from gputrain.engine.common.errors import EXIT_SCREEN_FAILED
from gputrain.tui.commands.command_messages import print_error
from gputrain.tui.render.format import run_continues
from gputrain.tui.terminal import gc_pause, lean_imports
from gputrain.tui.terminal.screen_signals import ScreenSignals, die_of

if TYPE_CHECKING:
    from gputrain.tui.app import GpuTrainApp


def show_app(
    make: Callable[[type[GpuTrainApp]], GpuTrainApp],
    run_id: str = "",
    waiting: Iterable[int] = (),
    on_signal: Callable[[int, str], int] | None = None,
) -> int:
    """Run the application that `make` creates. Returns the exit code.

    `run_id`: the run that it shows from the start. After a crash of the screen, Textual has printed the traceback; the
    message below it says which run continues, and the exit code is `EXIT_SCREEN_FAILED`. `waiting`: signals that have
    arrived before. `on_signal`: called with the signal that closed the screen and the id of the run that was shown
    (empty without one), returns the exit code; without it the process ends by that signal, as `die` says.
    """
    with ScreenSignals(waiting) as signals:
        gc_pause.pause_gc()
        lean_imports.without_textual_types()
        from gputrain.tui.app import GpuTrainApp

        app = make(GpuTrainApp)
        app.signals = signals
        code = app.run()
    live = app.shown_run or run_id
    if signals.number is not None and app.quit_result is None:
        if on_signal is not None:
            return on_signal(signals.number, live)
        die(signals.number, live)
    if code is None:
        print_error(f"the screen closed because of an error; {_what_continues(live)}", limit=600)
        return EXIT_SCREEN_FAILED
    if app.quit_result is not None:
        print(app.quit_result.exit_message)
    return code


def die(number: int, run_id: str) -> NoReturn:
    """End this process by a signal that closed its screen, with a message which run continues."""
    name = signal.Signals(number).name
    print_error(f"the screen was closed by {name}; {_what_continues(run_id)}", limit=600)
    die_of(number)


def _what_continues(run_id: str) -> str:
    return run_continues(run_id) if run_id else "runs continue; list them with: gputrain-tui runs"
