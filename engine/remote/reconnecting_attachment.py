"""Reads a run on another machine over ssh: each event exactly once, with automatic reconnection."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import AnyEvent, RunEnded
from gputrain.engine.events.commands import AnyCommand, encode_command
from gputrain.engine.launching.attachment import NotLiveError
from gputrain.engine.remote import remote_shell
from gputrain.engine.remote.link_replies import wait_for_frame, wait_for_frames, words
from gputrain.engine.remote.remote_outline import RemoteOutline
from gputrain.engine.remote.remote_status import read_status
from gputrain.engine.remote.ssh_link import Link, LinkLostError
from gputrain.engine.runs import run_directory, run_names
from gputrain.engine.runs.event_log import LineSplitter
from gputrain.engine.runs.remote_name import RemoteName

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 30.0
_SLICE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class RemoteRun:
    """A run that was found on another machine."""

    name: RemoteName
    path: str
    """Path of the run directory there."""

    @property
    def id(self) -> str:
        """The name for ``gputrain-tui tail``, sanitized for display."""
        return plain(f"{self.name.host}:{self.path if self.by_path else self.path.rstrip('/').rpartition('/')[2]}")

    @property
    def by_path(self) -> bool:
        """Whether the run was named by the path of its directory."""
        return "/" in self.name.run

    @property
    def directory(self) -> Path:
        """Host and directory, for display."""
        return Path(plain(f"{self.name.host}:{self.path}"))


class RemoteAttachment:
    """Reads a run over ssh. Made by `attach`. Not thread-safe, except that `send` may be called beside `read`.

    A lost connection is made again after 1 s, 2 s, 4 s … 30 s, as long as the caller reads. Reading continues at
    the last complete line; if that is another event than before, the record is read from its beginning and known
    events are skipped. With `outlined`, only the outline of a long record is sent.
    """

    def __init__(self, run: RemoteRun, link: Link, *, outlined: bool) -> None:
        """`link`: a waiting shell on that machine; the attachment closes it."""
        self.run = run
        self.ended = False
        """The newest event is `RunEnded`."""
        self.caught_up = False
        """All events recorded before `attach` were read."""
        self.sparse_until = 0
        """See `gputrain.engine.launching.attachment.Attachment`."""
        self.trouble = ""
        """Why there is no connection now; empty while there is one."""
        self._outlined = outlined
        self._outline: RemoteOutline | None = None
        """The outline while it arrives, else None."""
        self._link: Link | None = link
        self._lines = LineSplitter()
        self._waiting: deque[AnyEvent] = deque()
        self._cursor = 0
        self._last = (0, 0)
        """Offset and event number of the newest complete line."""
        self._check: int | None = None
        self._status = b""
        self._died = self._over = False
        self._retry_at = 0.0
        self._retry_seconds = FIRST_RETRY_SECONDS
        link.send(remote_shell.follow(run.path, 0, outlined=outlined))

    @property
    def abandoned(self) -> bool:
        """The supervisor has ended without `RunEnded` and the record was read: no event will follow."""
        return self._over and not self._waiting and not self.ended

    def read(self, timeout: float = 0.5, limit: int = 5000) -> list[AnyEvent]:
        """The next events in order; waits up to `timeout` seconds for the first one.

        Returns an empty list while there is no connection. Raises OSError if the run directory was deleted.
        """
        deadline = time.monotonic() + timeout
        while not self._waiting and not self.abandoned and (left := deadline - time.monotonic()) > 0:
            self._pump(min(left, _SLICE_SECONDS))
        found = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        if found:
            self._cursor = found[-1].seq
            self.ended = isinstance(found[-1], RunEnded)
        return found

    def _pump(self, timeout: float) -> None:
        if self._link is None and not self._connect(timeout):
            return
        assert self._link is not None
        try:
            for letter, payload in self._link.frames(timeout):
                self._take(letter, payload)
        except LinkLostError as error:
            self._lose(str(error))

    def _connect(self, timeout: float) -> bool:
        wait = self._retry_at - time.monotonic()
        if wait > 0:
            time.sleep(min(wait, timeout))
            return False
        self._link = Link(self.run.name, interactive=False)
        # From the last complete line: its number proves that it is still the same record.
        place, number = self._last
        self._check = number or None
        self._lines, self._outline = LineSplitter(place), None
        # An outline only before the first event was read.
        outlined = self._outlined and not self._cursor and not self._waiting
        self._link.send(remote_shell.follow(self.run.path, place, outlined=outlined))
        return True

    def _lose(self, why: str) -> None:
        assert self._link is not None
        self._link.close()
        self._link = None
        self.trouble = why
        self._retry_at = time.monotonic() + self._retry_seconds
        self._retry_seconds = min(LAST_RETRY_SECONDS, 2 * self._retry_seconds)

    def _take(self, letter: str, payload: bytes) -> None:
        self.trouble, self._retry_seconds = "", FIRST_RETRY_SECONDS
        match letter:
            case "D":
                self._take_record(payload)
            case "O":
                self._outline = self._outline or RemoteOutline()
                self._outline.add(payload)
            case "B":
                self._lines = LineSplitter(_number(payload))
            case "S":
                self._status = payload
            case "P":
                status = read_status(self._status, payload)
                self._died = status is not None and status.state is run_directory.State.DIED
            case "T":
                at_end = _number(payload) <= self._lines.offset
                self.caught_up = self.caught_up or at_end
                # The record was read to its end after its supervisor was found dead.
                self._over = at_end and self._died
            case "X":
                raise OSError(f"{self.run.id}: {words(payload)}")
            case _:
                pass

    def _take_record(self, data: bytes) -> None:
        for place, event in self._lines.split(data):
            expected, self._check = self._check, None
            if expected is not None and event.seq != expected:
                self._last = (0, 0)
                raise LinkLostError("the record was replaced; reading it from its beginning")
            if self._outline is not None:
                self._waiting.extend(self._outline.before(event.seq))
                self._outline, self.sparse_until = None, event.seq
            newest = self._waiting[-1].seq if self._waiting else self._cursor
            self._last = (place, event.seq)
            if event.seq > newest:
                self._waiting.append(event)

    def send(self, command: AnyCommand) -> None:
        """Send a command through the package on that machine to the supervisor. Raises NotLiveError."""
        try:
            with Link(self.run.name, interactive=False) as link:
                link.send(remote_shell.send(self.run.path, encode_command(command).decode()))
                wait_for_frame(link, "T")
        except LinkLostError as error:
            raise NotLiveError(f"{self.run.id} cannot be reached: {error}") from error
        except BadInput as error:
            raise NotLiveError(f"{self.run.id}: {error}") from error

    def close(self) -> None:
        """Detach; the run continues."""
        if self._link is not None:
            self._link.close()
            self._link = None


def attach(name: RemoteName, *, outlined: bool = False) -> RemoteAttachment:
    """Connect and start reading a run. ssh may ask for a password on the terminal.

    `outlined`: read only the outline of a long record, then all new events. Raises BadInput where there is no such run,
    LinkLostError where the host cannot be reached.
    """
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(Link(name, interactive=True))
        run = RemoteRun(name, _find(link, name))
        attachment = RemoteAttachment(run, link, outlined=outlined)
        stack.pop_all()
    return attachment


def _find(link: Link, name: RemoteName) -> str:
    if "/" in name.run:
        link.send(remote_shell.resolve(name.run))
        return _path(wait_for_frame(link, "H")["H"], name.host)
    link.send(remote_shell.names())
    frames = wait_for_frame(link, "I")
    home = _path(frames["H"], name.host)
    ids = sorted(filter(None, frames["I"].decode("utf-8", "replace").split("\n")), reverse=True)
    wanted = name.run or "last"
    if wanted != "last" and wanted not in ids and (given := _given(link, wanted)):
        wanted = given
    return f"{home}/{run_names.choose(wanted, ids, f'{name.host}:{home}', f'gputrain-tui runs {name.host}:')}"


def _given(link: Link, wanted: str) -> str:
    """The id of the newest run that its user named `wanted`; empty if there is none."""
    link.send(remote_shell.given_names())
    run, marked = "", b""
    for letter, payload in wait_for_frames(link, "T"):
        match letter:
            case "R":
                run = payload.decode("utf-8", "replace")
            case "M":
                marked = payload
            case "S" if run_names.name_in(marked, payload) == wanted:
                return run
            case _:
                pass
    return ""


def _path(raw: bytes, host: str) -> str:
    path = raw.decode("utf-8", "surrogateescape")
    if not path.startswith("/") or not path.isprintable():
        raise BadInput(f"{plain(host, 80)}: the path of its runs folder is invalid")
    return path


def _number(payload: bytes) -> int:
    return int(payload) if payload.isdigit() and len(payload) < 20 else 0
