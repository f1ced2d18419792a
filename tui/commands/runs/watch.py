"""Watches a run for a command: in the dashboard if there is a terminal, otherwise as lines."""

from __future__ import annotations

import argparse
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching.launch import NotLiveError
from gputrain.engine.processes.preemption import PREEMPTING, STOPPING
from gputrain.tui.cli.exit_codes import exit_code
from gputrain.tui.commands.output import has_screen, print_error
from gputrain.tui.commands.show_app import show_app
from gputrain.tui.render.format import run_continues, supervisor_died
from gputrain.tui.state.command_sender import sender
from gputrain.tui.state.event_source import RunSource

if TYPE_CHECKING:
    from gputrain.tui.cli.plain_output import JsonLines, PlainLines
    from gputrain.tui.cli.raw_output import RawOutput


def watch(attachment: RunSource, options: argparse.Namespace, *, owner: bool) -> int:
    """Watch a run until it ends or the user leaves. `owner`: this command started the run.

    Returns the exit code for the outcome of the run. Closes `attachment`. Raises OSError if it cannot be read.
    """
    try:
        if has_screen(options):
            return dashboard(attachment, low_bandwidth=options.low_bandwidth)
        from gputrain.tui.cli.plain_output import (  # imported here: the dashboard opens faster without it
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


def dashboard(attachment: RunSource, low_bandwidth: bool) -> int:
    """Open the dashboard of a run. Returns the exit code."""
    return show_app(lambda app: app(attachment, low_bandwidth=low_bandwidth), attachment.run.id)


def _follow(
    attachment: RunSource, lines: PlainLines | JsonLines | RawOutput, options: argparse.Namespace, *, owner: bool
) -> int:
    tail: deque[str] | None = deque(maxlen=options.lines) if getattr(options, "lines", None) else None
    follow = not getattr(options, "no_follow", False)
    trouble = ""

    def is_script() -> bool:
        return getattr(options, "command", "") == "exec" or lines.store.snapshot().is_script

    with _handle_interrupts(attachment, owner, is_script) as interrupts:
        while True:
            found = attachment.read()
            interrupts.act()
            for event in found:
                for line in lines.take(event):
                    if tail is not None:
                        tail.append(line)
                    else:
                        print(line, flush=True)
            if found and not interrupts.detached:
                continue
            if attachment.caught_up and tail is not None:
                print("\n".join(tail), flush=True)
                tail = None
            if interrupts.detached:
                print(run_continues(attachment.run.id))
                return EXIT_FINISHED
            if attachment.ended or attachment.abandoned or (not follow and attachment.caught_up):
                break
            if attachment.trouble != trouble:
                trouble = attachment.trouble
                print_error(f"no connection, trying again: {plain(trouble, 300)}" if trouble else "connected again")
    for line in lines.summary_lines(str(attachment.run.directory)):
        print(line, flush=True)
    ended = lines.store.snapshot().outcome
    if ended is None:
        if not follow:
            return EXIT_FINISHED
        print_error(supervisor_died(attachment.run.id))
    return exit_code(ended)


class _Interrupts:
    """Records signals and acts on them later: a signal may arrive while a message is being sent or printed."""

    def __init__(self, attachment: RunSource, owner: bool, is_script: Callable[[], bool]) -> None:
        self._attachment = attachment
        self._is_script = is_script
        self._owner = owner
        self._signals: deque[int] = deque()
        self._stopped = False
        self.detached = False
        """Stop watching; the run continues."""

    def note(self, number: int, _frame: object) -> None:
        """Record a signal."""
        self._signals.append(number)
        if len(self._signals) > 1:
            # The first signal was not handled yet: the next one kills this command, which may hang.
            signal.signal(number, signal.SIG_DFL)

    def act(self) -> None:
        """Act on the signals since the last call."""
        while self._signals:
            if not self._owner or self._stopped:
                self.detached = True
                self._signals.clear()
                return
            self._stop(self._signals.popleft())

    def _what_happens(self, number: int) -> str:
        if not self._is_script():
            return "stopping after a checkpoint"
        return f"{signal.Signals(number).name} is passed on to the command"

    def _stop(self, number: int) -> None:
        self._stopped = True
        print_error(f"{self._what_happens(number)}; press Ctrl-C again to leave the run alone")
        try:
            name = f"{sender()} {signal.Signals(number).name}"
            self._attachment.send(
                StopCommand(checkpoint=True, preempt=number in PREEMPTING, signal=number, sender=name)
            )
        except NotLiveError:
            self.detached = True


@contextmanager
def _handle_interrupts(attachment: RunSource, owner: bool, is_script: Callable[[], bool]) -> Iterator[_Interrupts]:
    """Ctrl-C detaches a command that only watches, and stops the run of a command that started it, after a checkpoint.

    A second Ctrl-C detaches at once. SIGTERM or SIGUSR1 (sent by schedulers) to the command that started the run stops
    the run after a checkpoint; the command waits for that. A script of the user's own gets the signal itself.
    """
    interrupts = _Interrupts(attachment, owner, is_script)
    before = {number: signal.signal(number, interrupts.note) for number in STOPPING}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
