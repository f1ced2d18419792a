"""The event channel between a run's supervisor and its dashboards: events out, commands in.

A `multiprocessing.managers.BaseManager` on a Unix socket serves two objects: a bounded broadcast
of encoded events, read by cursor so that each dashboard gets all of them and a slow one learns how
many it missed, and a queue for commands. Only bytes and numbers cross it. Both sides authenticate
with a random key in the private run directory. A manager's replies are unpickled, so a client
connects only to a socket of its own user.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import socket
import stat
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from multiprocessing import managers
from pathlib import Path
from typing import Any, Protocol, cast

from gputrain.engine.common.files import write_atomic
from gputrain.engine.runs.run_directory import RunDir

BUFFER_EVENTS = 8192
"""Number of events kept for slow readers; older ones are in the record."""
MAX_WAIT = 0.5
"""Longest wait of one call in the server, in seconds, so that no thread stays for a dead client."""
_MAX_SOCKET_PATH = 107


class Broadcast:
    """The newest events by number, for any number of readers, each with its own cursor."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=BUFFER_EVENTS)
        self._last = 0
        self._news = threading.Condition()

    def put(self, seq: int, line: bytes) -> None:
        """Add event number `seq`, which must be the next number."""
        with self._news:
            self._last = seq
            self._lines.append(line)
            self._news.notify_all()

    def get_many(self, cursor: int, limit: int, timeout: float) -> tuple[int, int, list[bytes]]:
        """Events after number `cursor`: (new cursor, number of events that are no longer kept, lines).

        Waits up to `timeout` seconds, at most `MAX_WAIT`, for the first one.
        """
        with self._news:
            if self._last <= cursor:
                self._news.wait(min(timeout, MAX_WAIT))
            oldest = self._last - len(self._lines)
            lost = max(0, oldest - cursor)
            begin = max(cursor, oldest) - oldest
            lines = list(itertools.islice(self._lines, begin, begin + limit))
            return max(cursor, oldest) + len(lines), lost, lines


class _Commands:
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def put(self, command: bytes) -> None:
        self._take(command)


class _Manager(managers.BaseManager):
    """Server and client side of the queue; objects are registered by each side."""


class Server:
    """Serves a run's broadcast until closed. Take the run's lock before creating one."""

    def __init__(self, run: RunDir, take_command: Callable[[bytes], None]) -> None:
        """`take_command` gets each encoded command, on a server thread. Raises OSError."""
        self.broadcast = Broadcast()
        commands = _Commands(take_command)

        class Manager(_Manager):
            pass

        Manager.register("events", callable=lambda: self.broadcast, exposed=("get_many",))
        Manager.register("commands", callable=lambda: commands, exposed=("put",))
        key = secrets.token_bytes(32)
        write_atomic(run.key, key)
        self.path = _socket_path(run)
        self.path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            server: Any = Manager(address=str(self.path), authkey=key).get_server()
        finally:
            os.umask(before)
        # Not Server.serve_forever: it replaces sys.stdout and calls sys.exit.
        self._server = server
        self._closed = server.stop_event = threading.Event()
        self._accepter = threading.Thread(target=self._accept, name="channel", daemon=True)
        self._accepter.start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection = self._server.listener.accept()
            except OSError:
                # For example out of file descriptors: attached clients continue, a new one may retry.
                self._closed.wait(0.2)
                continue
            threading.Thread(target=self._server.handle_request, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Stop serving and remove the socket."""
        self._closed.set()
        with socket.socket(socket.AF_UNIX) as wake, contextlib.suppress(OSError):
            wake.connect(str(self.path))
        self._accepter.join(1.0)
        self._server.listener.close()
        self.path.unlink(missing_ok=True)


def _socket_path(run: RunDir) -> Path:
    path = run.directory / "channel.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    folder = Path(tempfile.gettempdir()) / f"gputrain-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    _check_owner(folder)
    return folder / f"{secrets.token_hex(8)}.sock"


def _check_owner(path: Path) -> None:
    found = path.lstat()
    if found.st_uid != os.getuid() or stat.S_ISLNK(found.st_mode) or found.st_mode & 0o077:
        raise PermissionError(f"{path}: not a private folder or file of this user")


class _Events(Protocol):
    def get_many(self, cursor: int, limit: int, timeout: float) -> tuple[int, int, list[bytes]]: ...


class Client:
    """A dashboard's end of the channel. Connecting has no timeout: do it in a worker thread."""

    def __init__(self, run: RunDir, path: Path) -> None:
        """Raises OSError or EOFError if there is no server, PermissionError for another user's run."""
        for trusted in (run.directory, run.key, path):
            _check_owner(trusted)

        class Manager(_Manager):
            pass

        Manager.register("events")
        Manager.register("commands")
        # A manager caches one connection per thread and address. A resumed run has the same address, but its old
        # connection is dead.
        base: Any = managers.BaseProxy
        base._address_to_local.pop(str(path), None)
        manager: Any = Manager(address=str(path), authkey=run.key.read_bytes())
        manager.connect()
        self._manager = manager
        self._events = cast(_Events, manager.events())
        self._commands: Any = None

    def get_many(self, cursor: int, limit: int, timeout: float) -> tuple[int, int, list[bytes]]:
        """See `Broadcast.get_many`. Raises OSError or EOFError once the server has ended."""
        return self._events.get_many(cursor, limit, timeout)

    def send(self, command: bytes) -> None:
        """Send an encoded command to the supervisor. Raises OSError or EOFError once it has ended."""
        if self._commands is None:
            self._commands = self._manager.commands()
        self._commands.put(command)
