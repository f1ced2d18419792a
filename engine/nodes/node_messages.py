"""What the supervisor and the agents of the nodes say to each other, over the pipes of one ssh command per node.

A message is four bytes of length, then MessagePack. Imports no torch.
"""

from __future__ import annotations

import os
import queue
import threading
import time

import msgspec
from msgspec import Struct

MAX_BYTES = 64 << 20
SHARED_FILE = "nodes.token"
"""In the run directory: whoever reads the supervisor's token there shares the directory."""
PART_BYTES = 1 << 20
"""Bytes of a file in one message: small enough that heartbeats come between."""


class Message(Struct, frozen=True, tag_field="type", kw_only=True):
    """A message."""


# From the supervisor:


class Begin(Message, frozen=True, tag="begin"):
    """The first message."""

    run_id: str
    directory: str
    """The run directory on the supervisor's machine."""
    token: str
    """Content of a file in it: the node shares the directory if it reads the same."""
    timeout: float
    """Seconds of silence after which each end counts the other as lost."""
    data_dir: str
    """A folder that must be there; empty: none."""


class Offer(Message, frozen=True, tag="offer"):
    """Listen for the other nodes, at `address` or at all addresses of this node."""

    address: str


class Probe(Message, frozen=True, tag="probe"):
    """Try to connect to the first node at these addresses and ports."""

    offers: tuple[tuple[str, int], ...]
    token: str


class Stock(Message, frozen=True, tag="stock"):
    """The checkpoints that the node must have, as the content of ``index.json``."""

    index: bytes


class Part(Message, frozen=True, tag="part"):
    """A piece of a file in the folder of the checkpoints; also from the node that writes them."""

    file: str
    data: bytes
    first: bool
    last: bool


class Start(Message, frozen=True, tag="start"):
    """Start the ranks of this node."""

    config: bytes
    """Settings as JSON; `devices` is the number of all ranks."""
    first_rank: int
    ranks: int
    """Ranks of this node."""
    count: int
    address: str
    """Where all ranks meet; empty: this node alone has ranks."""
    port: int


class Command(Message, frozen=True, tag="command"):
    """A command to rank 0."""

    command: bytes


class Halt(Message, frozen=True, tag="halt"):
    """Kill the ranks; answered by `Halted`."""


class Leave(Message, frozen=True, tag="leave"):
    """The run is over: exit."""

    keep: bool
    """Keep the node's own folder of the run; else the supervisor has everything."""


# From an agent:


class Ready(Message, frozen=True, tag="ready"):
    """The answer to `Begin`."""

    host: str
    version: str
    """Of this package."""
    torch: str
    python: str
    gpus: int
    shared: bool
    """It sees the supervisor's run directory."""
    problem: str
    """Why it can't train, with the remedy; empty: it can."""


class Offered(Message, frozen=True, tag="offered"):
    """Where this node listens."""

    offers: tuple[tuple[str, int], ...]
    token: str
    problem: str


class Probed(Message, frozen=True, tag="probed"):
    """For each address whether it was reached: empty, or why not."""

    results: tuple[str, ...]


class Missing(Message, frozen=True, tag="missing"):
    """The answer to `Stock`: files to send."""

    files: tuple[str, ...]


class FromRank(Message, frozen=True, tag="from_rank"):
    """An event of rank 0."""

    event: bytes


class Ended(Message, frozen=True, tag="ended"):
    """A rank of this node has ended; negative code: the signal."""

    rank: int
    code: int
    oom: bool
    """The kernel's OOM killer ended a process on the node meanwhile."""


class Halted(Message, frozen=True, tag="halted"):
    """No rank of this node is left, and everything they sent was sent on."""


class Log(Message, frozen=True, tag="log"):
    """Output of the ranks of this node, whole lines."""

    text: str


# From both:


class Beat(Message, frozen=True, tag="beat"):
    """This end lives."""


ToAgent = Begin | Offer | Probe | Stock | Part | Start | Command | Halt | Leave | Beat
FromAgent = Ready | Offered | Probed | Missing | FromRank | Ended | Halted | Log | Part | Beat
AnyMessage = ToAgent | FromAgent
_DECODER = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: AnyMessage) -> bytes:
    """The bytes of a message, its length before it."""
    payload = msgspec.msgpack.encode(message)
    return len(payload).to_bytes(4, "big") + payload


class Messages:
    """Splits a stream of bytes into messages."""

    def __init__(self, begin: str = "") -> None:
        """`begin`: a line that precedes the messages, since a login shell may print before it; empty: nothing does."""
        self._mark = f"\n{begin}\n".encode()
        self._begun = not begin
        self._rest = bytearray()

    def take(self, data: bytes) -> list[AnyMessage]:
        """Add bytes; returns the messages that are complete now. Raises ValueError for bytes that are none."""
        self._rest += data
        if not self._begun:
            at = self._rest.find(self._mark)
            if at < 0:
                if len(self._rest) > PART_BYTES:
                    raise ValueError("the login shell prints more than 1 MiB")
                return []
            del self._rest[: at + len(self._mark)]
            self._begun = True
        found = []
        while len(self._rest) >= 4:
            size = int.from_bytes(self._rest[:4], "big")
            if size > MAX_BYTES:
                raise ValueError("invalid message")
            if len(self._rest) < 4 + size:
                break
            found.append(_DECODER.decode(bytes(self._rest[4 : 4 + size])))
            del self._rest[: 4 + size]
        return found


class MessageWriter:
    """Writes messages to a pipe on a thread of its own, so that nobody waits for a slow link."""

    def __init__(self, output: int, begin: str) -> None:
        """`output`: file descriptor. `begin`: the line that precedes the messages, as in `Messages`."""
        self._output = output
        self._outbox: queue.Queue[bytes] = queue.Queue()
        self._outbox.put(f"\n{begin}\n".encode())
        threading.Thread(target=self._write, name="writer", daemon=True).start()

    def put(self, message: AnyMessage) -> None:
        """Write a message soon."""
        self._outbox.put(encode(message))

    @property
    def backlog(self) -> int:
        """Messages that wait."""
        return self._outbox.qsize()

    def _write(self) -> None:
        try:
            while data := self._outbox.get():
                view = memoryview(data)
                while view:
                    view = view[os.write(self._output, view) :]
        except OSError:
            return

    def drain(self, seconds: float) -> None:
        """Wait until everything is written, at most so many `seconds`; nothing can be written after it."""
        self._outbox.put(b"")
        deadline = time.monotonic() + seconds
        while not self._outbox.empty() and time.monotonic() < deadline:
            time.sleep(0.02)
