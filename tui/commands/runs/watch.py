"""Watching a run from a command: in the dashboard where there is a terminal, else as lines."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from typing import TYPE_CHECKING

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED
from gputrain.engine.common.sanitize import plain
from gputrain.tui.cli.exit_codes import exit_code
from gputrain.tui.commands.output import has_screen
from gputrain.tui.commands.runs.stop_signals import StopSignals
from gputrain.tui.state.event_source import RunSource
from gputrain.tui.terminal import gc_pause

if TYPE_CHECKING:
    from gputrain.tui.cli.plain_output import JsonLines, PlainLines


def watch(attachment: RunSource, options: argparse.Namespace, signals: StopSignals) -> int:
    """Watch a run to its end, or until the user leaves. `signals`: entered by the caller.

    Returns the exit code that the run's outcome has. Closes `attachment`. Raises OSError if it can't be read.
    """
    try:
        if has_screen(options):
            signals.release()
            return dashboard(attachment, frugal=options.low_bandwidth)
        from gputrain.tui.cli.plain_output import (  # not needed for a dashboard, which is to open at once
            JsonLines,
            PlainLines,
        )

        lines = JsonLines() if options.json else PlainLines()
        return _follow(attachment, lines, options, signals)
    finally:
        attachment.close()


def dashboard(attachment: RunSource, frugal: bool) -> int:
    """Open the dashboard on a run; prints how it was left. `frugal`: for a slow line."""
    gc_pause.pause_gc()
    from gputrain.tui.app import GpuTrainApp

    app = GpuTrainApp(attachment, frugal=frugal)
    code = app.run()
    if app.leaving is not None:
        print(app.leaving.farewell)
    return code if code is not None else EXIT_FAILED


def _follow(
    attachment: RunSource, lines: PlainLines | JsonLines, options: argparse.Namespace, signals: StopSignals
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
            print(f"run {attachment.run.id} goes on; come back with: gputrain-tui tail {attachment.run.id}")
            return EXIT_FINISHED
        if attachment.ended or attachment.abandoned or (not follow and attachment.caught_up):
            break
        if attachment.trouble != trouble:
            trouble = attachment.trouble
            _say(f"no connection, trying again: {plain(trouble, 300)}" if trouble else "connected again")
    for line in lines.summary_lines(str(attachment.run.directory)):
        print(line, flush=True)
    ended = lines.store.snapshot().outcome
    if ended is None:
        if not follow:
            return EXIT_FINISHED
        print(f"gputrain-tui: {attachment.run.id}: its supervisor is gone without a word", file=sys.stderr)
    return exit_code(ended)


def _say(text: str) -> None:
    print(f"gputrain-tui: {text}", file=sys.stderr, flush=True)
