"""Sends commands to a run on a thread, because connecting may block."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events.commands import AnyCommand
from gputrain.tui.state.event_source import RunSource


def sender() -> str:
    """User, host and pid of this process, for the record of the run."""
    return f"{os.environ.get('USER') or os.getuid()}@{socket.gethostname()} pid {os.getpid()}"


def send(source: RunSource, command: AnyCommand, done: Callable[[str], None]) -> None:
    """Send `command` on a thread, which then calls `done` with the error text, empty on success."""

    def work() -> None:
        try:
            source.send(command)
        except OSError as error:
            done(plain(str(error), 300) or "the run cannot be reached")
        else:
            done("")

    threading.Thread(target=work, name="command", daemon=True).start()
