"""Watching a run from a command: in the dashboard where there is a terminal, else as lines."""

from __future__ import annotations

import argparse
import signal
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching.launch import NotLiveError
from gputrain.engine.processes.preemption import PREEMPTING, STOPPING
from gputrain.tui.cli.exit_codes import exit_code
from gputrain.tui.commands.output import has_screen
from gputrain.tui.state.command_sender import sender
from gputrain.tui.state.event_source import RunSource
from gputrain.tui.terminal import gc_pause

if TYPE_CHECKING:
    from gputrain.tui.cli.plain_output import JsonLines, PlainLines
    from gputrain.tui.cli.raw_output import RawOutput


def watch(attachment: RunSource, options: argparse.Namespace, *, owner: bool) -> int:
    """Watch a run to its end, or until the person leaves. `owner`: this command started it.

    Returns the exit code that the run's outcome has. Closes `attachment`. Raises OSError if it can't be read.
    """
    try:
        if has_screen(options):
            return dashboard(attachment, frugal=options.low_bandwidth)
        from gputrain.tui.cli.plain_output import (  # not needed for a dashboard, which is to open at once
            JsonLines,
            PlainLines,
        )

        if getattr(options, "raw", False):
            from gputrain.tui.cli.raw_output import RawOutput

            return _follow(attachment, RawOutput(Path(attachment.run.directory)), options, owner=owner)
        lines = JsonLines() if options.json else PlainLines()
        return _follow(attachment, lines, options, owner=owner)
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
    attachment: RunSource, lines: PlainLines | JsonLines | RawOutput, options: argparse.Namespace, *, owner: bool
) -> int:
    tail: deque[str] | None = deque(maxlen=options.lines) if getattr(options, "lines", None) else None
    follow = not getattr(options, "no_follow", False)
    trouble = ""
    with _interrupts(attachment, owner) as asked:
        while True:
            found = attachment.read()
            asked.obey()
            for event in found:
                for line in lines.take(event):
                    if tail is not None:
                        tail.append(line)
                    else:
                        print(line, flush=True)
            if found and not asked.detached:
                continue
            if attachment.caught_up and tail is not None:
                print("\n".join(tail), flush=True)
                tail = None
            if asked.detached:
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


class _Asked:
    """What interrupts ask for. They only leave a mark: a handler may come while a message is half sent or printed."""

    def __init__(self, attachment: RunSource, owner: bool) -> None:
        self._attachment = attachment
        self._owner = owner
        self._signals: deque[int] = deque()
        self._stopped = False
        self.detached = False
        """This command is to leave the run to itself."""

    def note(self, number: int, _frame: object) -> None:
        """A signal has come."""
        self._signals.append(number)
        if len(self._signals) > 1:
            # Nothing followed the first one: the next one ends this command where it is stuck.
            signal.signal(number, signal.SIG_DFL)

    def obey(self) -> None:
        """Do what was asked since the last time."""
        while self._signals:
            if not self._owner or self._stopped:
                self.detached = True
                self._signals.clear()
                return
            self._stop(self._signals.popleft())

    def _stop(self, number: int) -> None:
        self._stopped = True
        _say("stopping after a checkpoint; Ctrl-C again leaves the run to itself")
        try:
            name = f"{sender()} {signal.Signals(number).name}"
            self._attachment.send(
                StopCommand(checkpoint=True, preempt=number in PREEMPTING, signal=number, sender=name)
            )
        except NotLiveError:
            self.detached = True


@contextmanager
def _interrupts(attachment: RunSource, owner: bool) -> Iterator[_Asked]:
    """Ctrl-C never ends a run in silence: who only watches leaves it; who started it stops it after a checkpoint.

    A second Ctrl-C leaves at once. SIGTERM or SIGUSR1 to the command that started the run, as a batch system sends
    them, stops the run after a checkpoint, and the command waits for that.
    """
    asked = _Asked(attachment, owner)
    before = {number: signal.signal(number, asked.note) for number in STOPPING}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    print(f"gputrain-tui: {text}", file=sys.stderr, flush=True)
