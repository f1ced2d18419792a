"""Sending commands to a run without waiting for it: connecting has no time-out of its own."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events.commands import AnyCommand
from gputrain.tui.state.event_source import RunSource


def sender() -> str:
    """Who asks: user, host and process, for the run's record."""
    return f"{os.environ.get('USER') or os.getuid()}@{socket.gethostname()} pid {os.getpid()}"


def send(source: RunSource, command: AnyCommand, done: Callable[[str], None]) -> None:
    """Hand `command` to the run on a thread; `done` is then called there with why it failed, or an empty text."""

    def work() -> None:
        try:
            source.send(command)
        except OSError as error:
            done(plain(str(error), 300) or "the run cannot be reached")
        else:
            done("")

    threading.Thread(target=work, name="command", daemon=True).start()
