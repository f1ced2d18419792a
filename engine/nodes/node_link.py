"""The supervisor's end of one node: its ssh process, what it says, and whether it is still heard."""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import msgspec

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.sections.host_list import Host
from gputrain.engine.nodes import node_messages
from gputrain.engine.nodes.node_messages import AnyMessage, Beat, Messages
from gputrain.engine.processes import scheduler_signals
from gputrain.engine.remote.ssh_link import ssh_command

CONNECT_SECONDS = 10
"""ssh's own limit for a connection."""
_BEAT_SECONDS = 1.0
_READ_BYTES = 1 << 18
_STDERR_BYTES = 4096
_OPTIONS = (
    "-T", "-x", "-oBatchMode=yes", "-oClearAllForwardings=yes", "-oPermitLocalCommand=no", "-oRemoteCommand=none",
    f"-oConnectTimeout={CONNECT_SECONDS}", "-oControlMaster=no", "-oControlPath=none",
)  # fmt: skip
"""No prompts, no terminal, and none of the forwardings and commands of the user's ssh configuration."""


class NodeLink:
    """One connection. `on_message` gets each message, and None once when the connection is lost, on a thread."""

    def __init__(self, host: Host, python: str, on_message: Callable[[NodeLink, AnyMessage | None], None]) -> None:
        """Starts ssh and returns at once. Raises BadInput without an ssh program, OSError."""
        self.host = host
        self._on_message = on_message
        self._token = f"gputrain-{secrets.token_hex(8)}"
        port = ("-p", str(host.port)) if host.port else ()
        # One word for the login shell, whichever it is.
        remote = f"exec {shlex.quote(python or sys.executable)} -P -m gputrain.engine.nodes {self._token}"
        command = [*ssh_command(), *_OPTIONS, *port, "--", host.ssh_name, remote]
        try:
            with scheduler_signals.blocked_signals():
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    start_new_session=True,
                )
        except FileNotFoundError as error:
            raise BadInput(f"{plain(command[0], 200)} cannot be started: {error.strerror}; install OpenSSH") from None
        self.heard = time.monotonic()
        """When the last bytes came."""
        self.lost = ""
        """Why the connection is lost; empty while it is not."""
        self.silent = False
        """It is lost because nothing was heard."""
        self._stderr = b""
        self._closing = threading.Event()
        self._outbox: queue.Queue[bytes] = queue.Queue()
        for work in (self._read, self._write, self._beat, self._read_stderr):
            threading.Thread(target=work, name=f"node {host.text}", daemon=True).start()

    def send(self, message: AnyMessage) -> None:
        """Queue a message; a lost connection drops it."""
        if not self.lost:
            self._outbox.put(node_messages.encode(message))

    @property
    def backlog(self) -> int:
        """Messages that wait for the connection."""
        return self._outbox.qsize()

    def give_up(self, reason: str) -> None:
        """Count the node as lost, since nothing is heard of it."""
        self.silent = True
        self._lose(reason)
        self.close()

    def close(self) -> None:
        """End ssh; the agent ends its ranks. Idempotent."""
        self._closing.set()
        self._outbox.put(b"")
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)

    def finish(self, seconds: float, keep: bool) -> None:
        """Let the agent end by itself, then close; `keep`: its node's own copies of checkpoints stay."""
        self.send(node_messages.Leave(keep=keep))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.close()

    def _lose(self, reason: str) -> None:
        if self.lost or self._closing.is_set():
            return
        self.lost = reason
        self._on_message(self, None)

    def _read(self) -> None:
        assert self._process.stdout is not None
        messages = Messages(self._token)
        try:
            while data := os.read(self._process.stdout.fileno(), _READ_BYTES):
                self.heard = time.monotonic()
                for message in messages.take(data):
                    self._on_message(self, message)
        except (OSError, ValueError, msgspec.DecodeError) as error:
            self._lose(plain(str(error), 200))
            return
        self._lose(self._why())

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(self._process.stderr.fileno(), _READ_BYTES):
                self._stderr = (self._stderr + data)[-_STDERR_BYTES:]

    def _why(self) -> str:
        """The last line of ssh's stderr, once its output has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
        time.sleep(0.1)  # for the last of its output
        lines = [text for line in self._stderr.splitlines() if (text := plain(line.decode("utf-8", "replace"), 300))]
        return lines[-1] if lines else "its agent has ended: the connection was closed"

    def _write(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            while data := self._outbox.get():
                view = memoryview(data)
                while view:
                    view = view[self._process.stdin.write(view) or 0 :]

    def _beat(self) -> None:
        while not self._closing.wait(_BEAT_SECONDS) and not self.lost:
            if not self.backlog:
                self.send(Beat())
