"""Watches a run for a command: in the dashboard if there is a terminal, otherwise as lines."""

from __future__ import annotations

import argparse
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.engine.common.sanitize import plain
from gputrain.engine.launching import launch
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.cli.exit_codes import exit_code
from gputrain.tui.commands.command_messages import has_screen, print_error
from gputrain.tui.commands.runs.watch_signals import StopSignals
from gputrain.tui.commands.show_app import die, show_app
from gputrain.tui.render.format import no_events, run_continues, supervisor_died
from gputrain.tui.state.event_source import RunSource

if TYPE_CHECKING:
    from gputrain.tui.cli.plain_output import JsonLines, PlainLines
    from gputrain.tui.cli.raw_output import RawOutput


_LAST_LINES = 5
"""Lines of the run so far that are printed below a screen that a signal closed."""


def watch(attachment: RunSource, options: argparse.Namespace, signals: StopSignals) -> int:
    """Watch a run until it ends or the user leaves. `signals`: entered by the caller.

    Returns the exit code for the outcome of the run. Closes `attachment`. Raises OSError if it cannot be read.
    """
    try:
        if has_screen(options):
            return _dashboard(attachment, options, signals)
        from gputrain.tui.cli.plain_output import JsonLines, PlainLines

        if getattr(options, "raw", False):
            from gputrain.tui.cli.raw_output import RawOutput

            return _follow(attachment, RawOutput(Path(attachment.run.directory)), options, signals)
        lines = JsonLines() if options.json else PlainLines()
        return _follow(attachment, lines, options, signals)
    finally:
        attachment.close()


def _dashboard(attachment: RunSource, options: argparse.Namespace, signals: StopSignals) -> int:
    """Open the dashboard of a run. Returns the exit code.

    A preemption signal to the command that started the run closes the screen and stops the run after a checkpoint, for
    which the command waits, as without a screen.
    """

    def follow(number: int, run_id: str) -> int:
        if not signals.stops_run(number):
            die(number, run_id)
        signals.add(number)
        from gputrain.tui.cli.plain_output import PlainLines

        # A second reader: the dashboard has read the events before.
        again = launch.attach(RunDir(Path(attachment.run.directory)))
        try:
            return _follow(again, PlainLines(), argparse.Namespace(lines=_LAST_LINES), signals)
        finally:
            again.close()

    return show_app(
        lambda app: app(attachment, low_bandwidth=options.low_bandwidth),
        attachment.run.id,
        waiting=signals.take_waiting(),
        on_signal=follow,
    )


def _follow(
    attachment: RunSource,
    lines: PlainLines | JsonLines | RawOutput,
    options: argparse.Namespace,
    signals: StopSignals,
) -> int:
    tail: deque[str] | None = deque(maxlen=options.lines) if getattr(options, "lines", None) else None
    follow = not getattr(options, "no_follow", False)
    trouble = ""
    while True:
        found = attachment.read()
        signals.obey(attachment)
        for event in found:
            for line in lines.take(event):
                if tail is not None:
                    tail.append(line)
                else:
                    print(line, flush=True)
        if found and not signals.detached:
            continue
        if attachment.caught_up and tail is not None:
            print("\n".join(tail), flush=True)
            tail = None
        if signals.detached:
            print(run_continues(attachment.run.id))
            return EXIT_FINISHED
        if attachment.ended or attachment.abandoned or (not follow and attachment.caught_up):
            break
        if attachment.trouble != trouble:
            trouble = attachment.trouble
            print_error(no_events(plain(trouble, 300)) if trouble else "connected again")
    for line in lines.summary_lines(str(attachment.run.directory)):
        print(line, flush=True)
    ended = lines.store.snapshot().outcome
    if ended is None:
        if not follow:
            return EXIT_FINISHED
        print_error(supervisor_died(attachment.run.id))
    return exit_code(ended)
