"""One connection: an ``ssh`` process, the shell at its other end, and the frames that come back."""

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
"""The other end speaks every second. After so long without a word the network is gone, whatever TCP thinks."""
ANSWER_SECONDS = 60.0
"""How long a connection that needs no person may take to be there."""
MAX_FRAME = 16 << 20
_MAX_PREAMBLE = 1 << 20
_READ_BYTES = 1 << 18
_STDERR_BYTES = 4096
_LETTERS = b"HIRMSPOBDTX"
_OPTIONS = ("-T", "-x", "-oClearAllForwardings=yes", "-oPermitLocalCommand=no", "-oRemoteCommand=none")
"""As scp: no terminal, none of the forwardings and commands that the user's configuration may have for logins."""

Frame = tuple[str, bytes]


class LinkLostError(OSError):
    """The connection could not be made, or was cut. The message says what ssh said."""


def ssh_command() -> list[str]:
    """``ssh``, or what ``$GPUTRAIN_SSH`` says instead (a program and its options). Raises BadInput."""
    try:
        words = shlex.split(os.environ.get("GPUTRAIN_SSH", "") or "ssh")
    except ValueError as error:
        raise BadInput(f"GPUTRAIN_SSH: {error}") from None
    return words or ["ssh"]


class Frames:
    """Cuts a byte stream into frames."""

    def __init__(self, token: str) -> None:
        self._mark: bytes = f"\n{token}\n".encode()
        self._begun = False
        self._rest = bytearray()

    @property
    def begun(self) -> bool:
        """The shell at the other end has spoken."""
        return self._begun

    def take(self, data: bytes) -> list[Frame]:
        """The frames that are complete now. Raises ValueError for what cannot be one."""
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
                raise ValueError("it prints without end at login")
            return False
        del self._rest[: at + len(self._mark)]
        self._begun = True
        return True

    def _next(self) -> Frame | None:
        head, newline, _ = bytes(self._rest[:24]).partition(b"\n")
        if not newline:
            if len(head) >= 24:
                raise ValueError("what comes is no record")
            return None
        letter, _, digits = head.partition(b" ")
        if len(letter) != 1 or letter not in _LETTERS or not digits.isdigit() or int(digits) > MAX_FRAME:
            raise ValueError("what comes is no record")
        begin = len(head) + 1
        end = begin + int(digits)
        trailer = b"E\n" if letter in (b"D", b"O") else b""
        if len(self._rest) < end + len(trailer):
            return None
        if not self._rest.startswith(trailer, end):
            raise ValueError("a part of the record could not be read there")
        payload = bytes(self._rest[begin:end])
        del self._rest[: end + len(trailer)]
        return letter.decode(), payload


class Link:
    """A shell on another machine. Not thread-safe."""

    def __init__(self, name: RemoteName, *, asking: bool) -> None:
        """`asking`: a person is there whom ssh may ask for a password. Raises BadInput without an ssh program."""
        token = f"gputrain-{secrets.token_hex(8)}"
        options = _OPTIONS if asking else (*_OPTIONS, "-oBatchMode=yes")
        command = [*ssh_command(), *options, "--", name.ssh_host, *remote_shell.COMMAND]
        try:
            # In a session of its own it does not see this terminal's Ctrl-C, and could not ask a person either.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=not asking,
            )
        except OSError as error:
            raise BadInput(f"{plain(command[0], 200)} cannot be started: {error.strerror}; install OpenSSH") from None
        self._host = plain(name.host, 80)
        self._frames = Frames(token)
        self._stderr = b""
        self._asking = asking
        self._heard = time.monotonic()
        self._selector = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)
        self.send(remote_shell.hello(token))

    def send(self, script: bytes) -> None:
        """Give the shell more to do. A connection that is gone is told by `frames`."""
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
            raise LinkLostError(f"{self._host}: no word for {silent:.0f} s")
        if not self._frames.begun and not self._asking and silent > ANSWER_SECONDS:
            raise LinkLostError(f"{self._host}: no answer for {silent:.0f} s")

    def _why(self) -> str:
        """What ssh said last, once its output has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        assert self._process.stderr is not None
        with contextlib.suppress(BlockingIOError, OSError):
            self._stderr += os.read(self._process.stderr.fileno(), _STDERR_BYTES)
        said = [text for line in self._stderr.splitlines() if (text := plain(line.decode("utf-8", "replace"), 200))]
        return said[-1] if said else "the connection was closed"

    def close(self) -> None:
        """Hang up; the shell there ends when it next speaks. Idempotent."""
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
