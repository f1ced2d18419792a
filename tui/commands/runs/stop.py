"""``gputrain-tui stop RUN``: stops a run, and waits until it ended."""

from __future__ import annotations

import argparse
import sys
import time

from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.engine.events import Notice, RunEnded
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.launching.attachment import NotLiveError
from gputrain.engine.processes.watchdog import NO_EVENTS, RESUMED
from gputrain.engine.runs import remote_name, run_directory
from gputrain.engine.runs.run_directory import RunInfo
from gputrain.engine.slurm import queue_state, slurm_commands
from gputrain.tui.commands.command_messages import fail
from gputrain.tui.render.format import supervisor_died
from gputrain.tui.state.command_sender import sender
from gputrain.tui.state.event_source import RunSource

NOTICE_SECONDS = 5.0
"""Seconds to wait for step and checkpoint before a message says that the run has not ended yet."""


def run(options: argparse.Namespace) -> int:
    """Returns 0 if the run ended (with ``--no-wait``: if the request was sent), 1 if the run cannot be reached."""
    if (remote := remote_name.parse(options.run)) is not None:
        return _stop_remote(remote, options)
    target = run_directory.find(options.run)
    (info,) = queue_state.with_queue([RunInfo(target, target.status())], slurm_commands.job_states)
    status = info.status
    if status is None or status.state.over:
        print(f"{target.id} is not running ({status.state if status else 'it never started'})")
        return EXIT_FINISHED
    return _stop(launch.attach(target), options)


def _stop_remote(remote: remote_name.RemoteName, options: argparse.Namespace) -> int:
    from gputrain.engine.remote.reconnecting_attachment import attach  # imported here: most runs are local

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
        return fail(error)


def _stop(attachment: RunSource, options: argparse.Namespace) -> int:
    try:
        attachment.send(StopCommand(checkpoint=not options.now, sender=sender()))
        if options.no_wait:
            print(f"{attachment.run.id} was asked to stop")
            return EXIT_FINISHED
        return _wait(attachment, now=options.now)
    except NotLiveError as error:
        return fail(error)
    finally:
        attachment.close()


def _wait(attachment: RunSource, *, now: bool) -> int:
    due = float("inf") if now else time.monotonic() + NOTICE_SECONDS
    silent, reported = "", None
    while True:
        for event in attachment.read():
            if isinstance(event, RunEnded):
                last = event
            elif isinstance(event, Notice) and event.text.startswith((NO_EVENTS, RESUMED)):
                silent = event.text if event.text.startswith(NO_EVENTS) else ""
        if attachment.ended:
            print(f"{attachment.run.id}: {last.outcome.value} at step {last.step}: {last.reason}")
            return EXIT_FINISHED
        if attachment.abandoned:
            return fail(supervisor_died(attachment.run.id))
        if time.monotonic() > due and silent != reported:
            reported = silent
            print(_still_waiting(attachment.run.id, silent), file=sys.stderr, flush=True)


def _still_waiting(run: str, silent: str) -> str:
    why = f": {silent}" if silent else ""
    return f"{run} has not ended yet{why}; to stop at once without a checkpoint: gputrain-tui stop {run} --now"
