"""``gputrain-tui stop RUN``: ask a run to end, and wait until it has."""

from __future__ import annotations

import argparse
import sys
import time

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import Notice, RunEnded
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.processes.watchdog import GOES_ON, SILENT
from gputrain.engine.runs import remote_name, run_directory
from gputrain.tui.state.command_sender import sender
from gputrain.tui.state.event_source import RunSource

PATIENCE_SECONDS = 5.0
"""A run ends after its step and a checkpoint; one that has not after this time may hang."""


def run(options: argparse.Namespace) -> int:
    """Returns 0 if the run has ended (or was asked to, with ``--no-wait``), 1 if it can't be reached."""
    if (remote := remote_name.parse(options.run)) is not None:
        return _afar(remote, options)
    target = run_directory.find(options.run)
    status = target.status()
    if status is None or status.state.over:
        print(f"{target.id} is not running ({status.state if status else 'it never started'})")
        return EXIT_FINISHED
    return _stop(launch.attach(target), options)


def _afar(remote: remote_name.RemoteName, options: argparse.Namespace) -> int:
    from gputrain.engine.remote.remote_attachment import attach  # most runs are here

    try:
        attachment = attach(remote, outlined=True)
        ends: list[RunEnded] = []
        while not (attachment.caught_up or attachment.abandoned):
            ends += [event for event in attachment.read() if isinstance(event, RunEnded)]
        if attachment.ended or attachment.abandoned:
            print(f"{attachment.run.id} is not running ({ends[-1].outcome.value if ends else 'died'})")
            attachment.close()
            return EXIT_FINISHED
        return _stop(attachment, options)
    except OSError as error:
        print(f"gputrain-tui: {plain(str(error), 500)}", file=sys.stderr)
        return EXIT_FAILED


def _stop(attachment: RunSource, options: argparse.Namespace) -> int:
    try:
        attachment.send(StopCommand(checkpoint=not options.now, sender=sender()))
        if options.no_wait:
            print(f"{attachment.run.id} was asked to stop")
            return EXIT_FINISHED
        return _wait(attachment, now=options.now)
    except launch.NotLiveError as error:
        print(f"gputrain-tui: {plain(str(error), 500)}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        attachment.close()


def _wait(attachment: RunSource, *, now: bool) -> int:
    due = float("inf") if now else time.monotonic() + PATIENCE_SECONDS
    silent, told = "", None
    while True:
        for event in attachment.read():
            if isinstance(event, RunEnded):
                last = event
            elif isinstance(event, Notice) and event.text.startswith((SILENT, GOES_ON)):
                silent = event.text if event.text.startswith(SILENT) else ""
        if attachment.ended:
            print(f"{attachment.run.id}: {last.outcome.value} at step {last.step}: {last.reason}")
            return EXIT_FINISHED
        if attachment.abandoned:
            print(f"gputrain-tui: {attachment.run.id}: its supervisor is gone without a word", file=sys.stderr)
            return EXIT_FAILED
        if time.monotonic() > due and silent != told:
            told = silent
            print(_still_waiting(attachment.run.id, silent), file=sys.stderr, flush=True)


def _still_waiting(run: str, silent: str) -> str:
    why = f": {silent}" if silent else ""
    return f"{run} has not ended yet{why}; at once, without a checkpoint: gputrain-tui stop {run} --now"
