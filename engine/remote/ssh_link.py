"""One ssh connection: the ``ssh`` process, the remote shell, and the frames that it sends."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import shlex
import subprocess
import time
from typing import Self

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.remote import remote_shell
from gputrain.engine.runs.remote_name import RemoteName

SILENCE_SECONDS = 20.0
"""The other end sends a frame every second; after this time without one the connection is dead."""
ANSWER_SECONDS = 60.0
"""How long a connection without password prompt may take."""
MAX_FRAME = 16 << 20
_MAX_PREAMBLE = 1 << 20
_READ_BYTES = 1 << 18
_STDERR_BYTES = 4096
_LETTERS = b"HIRMSPOBDTX"
_OPTIONS = ("-T", "-x", "-oClearAllForwardings=yes", "-oPermitLocalCommand=no", "-oRemoteCommand=none")
"""As scp: no terminal, and none of the forwardings and commands of the user's ssh configuration."""

Frame = tuple[str, bytes]


class LinkLostError(OSError):
    """The connection failed or was lost. The message is the last line of ssh's stderr."""


def ssh_command() -> list[str]:
    """``ssh``, or the program and options in ``$GPUTRAIN_SSH``. Raises BadInput."""
    try:
        words = shlex.split(os.environ.get("GPUTRAIN_SSH", "") or "ssh")
    except ValueError as error:
        raise BadInput(f"GPUTRAIN_SSH: {error}") from None
    return words or ["ssh"]


class Frames:
    """Splits a byte stream into frames."""

    def __init__(self, token: str) -> None:
        self._mark: bytes = f"\n{token}\n".encode()
        self._begun = False
        self._rest = bytearray()

    @property
    def begun(self) -> bool:
        """The shell at the other end has started."""
        return self._begun

    def take(self, data: bytes) -> list[Frame]:
        """Add bytes; returns the frames that are complete now. Raises ValueError for invalid data."""
        self._rest += data
        if not self._begun and not self._begin():
            return []
        found = []
        while (frame := self._next()) is not None:
            found.append(frame)
        return found

    def _begin(self) -> bool:
        at = self._rest.find(self._mark)
        if at < 0:
            if len(self._rest) > _MAX_PREAMBLE:
                raise ValueError("the login shell prints more than 1 MiB")
            return False
        del self._rest[: at + len(self._mark)]
        self._begun = True
        return True

    def _next(self) -> Frame | None:
        head, newline, _ = bytes(self._rest[:24]).partition(b"\n")
        if not newline:
            if len(head) >= 24:
                raise ValueError("invalid reply")
            return None
        letter, _, digits = head.partition(b" ")
        if len(letter) != 1 or letter not in _LETTERS or not digits.isdigit() or int(digits) > MAX_FRAME:
            raise ValueError("invalid reply")
        begin = len(head) + 1
        end = begin + int(digits)
        trailer = b"E\n" if letter in (b"D", b"O") else b""
        if len(self._rest) < end + len(trailer):
            return None
        if not self._rest.startswith(trailer, end):
            raise ValueError("a part of the record could not be read on that machine")
        payload = bytes(self._rest[begin:end])
        del self._rest[: end + len(trailer)]
        return letter.decode(), payload


class Link:
    """A shell on another machine. Not thread-safe."""

    def __init__(self, name: RemoteName, *, interactive: bool) -> None:
        """`interactive`: ssh may ask the user for a password. Raises BadInput without an ssh program."""
        token = f"gputrain-{secrets.token_hex(8)}"
        options = _OPTIONS if interactive else (*_OPTIONS, "-oBatchMode=yes")
        command = [*ssh_command(), *options, "--", name.ssh_host, *remote_shell.COMMAND]
        try:
            # In its own session ssh does not get this terminal's Ctrl-C, and cannot prompt either.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=not interactive,
            )
        except OSError as error:
            raise BadInput(f"{plain(command[0], 200)} cannot be started: {error.strerror}; install OpenSSH") from None
        self._host = plain(name.host, 80)
        self._frames = Frames(token)
        self._stderr = b""
        self._interactive = interactive
        self._heard = time.monotonic()
        self._selector = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)
        self.send(remote_shell.hello(token))

    def send(self, script: bytes) -> None:
        """Send a script to the shell. A lost connection is reported by `frames`."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(script)

    def frames(self, timeout: float) -> list[Frame]:
        """The next frames; waits up to `timeout` seconds for the first. Raises LinkLostError."""
        deadline = time.monotonic() + timeout
        while True:
            found: list[Frame] = []
            for key, _ in self._selector.select(max(0.0, deadline - time.monotonic())):
                found += self._read(key.fd)
            if found or time.monotonic() >= deadline:
                self._check_silence()
                return found

    def _read(self, fd: int) -> list[Frame]:
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return []
        assert self._process.stderr is not None
        if fd == self._process.stderr.fileno():
            if not data:
                self._selector.unregister(fd)
            self._stderr = (self._stderr + data)[-_STDERR_BYTES:]
            return []
        if not data:
            raise LinkLostError(f"{self._host}: {self._why()}")
        self._heard = time.monotonic()
        try:
            return self._frames.take(data)
        except ValueError as error:
            raise LinkLostError(f"{self._host}: {error}") from None

    def _check_silence(self) -> None:
        silent = time.monotonic() - self._heard
        if self._frames.begun and silent > SILENCE_SECONDS:
            raise LinkLostError(f"{self._host}: no reply for {silent:.0f} s")
        if not self._frames.begun and not self._interactive and silent > ANSWER_SECONDS:
            raise LinkLostError(f"{self._host}: no connection after {silent:.0f} s")

    def _why(self) -> str:
        """The last line of ssh's stderr, once its output has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        assert self._process.stderr is not None
        with contextlib.suppress(BlockingIOError, OSError):
            self._stderr += os.read(self._process.stderr.fileno(), _STDERR_BYTES)
        lines = [text for line in self._stderr.splitlines() if (text := plain(line.decode("utf-8", "replace"), 200))]
        return lines[-1] if lines else "the connection was closed"

    def close(self) -> None:
        """Close the connection; the remote shell ends at its next write. Idempotent."""
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
