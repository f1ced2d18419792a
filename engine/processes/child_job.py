"""Work that needs torch, done by a child process: an order in, progress and one result out, as JSON lines.

The child imports torch so that this process need not, and ends with this one, however that ends.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Struct

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain

_KILL_SECONDS = 5.0
_SAID_LINES = 20

Tell = Callable[[str], None]
"""Hears what is being done now."""
Started = Callable[[Callable[[], None]], None]
"""Hears, once the child runs, how to end it early."""
Result = TypeVar("Result")


class Progress(Struct, frozen=True, tag="progress"):
    """What is being done now."""

    text: str


class Failed(Struct, frozen=True, tag="failed"):
    """There will be no result."""

    error: str
    bad_input: bool
    """The error is one that the person can mend."""


class Done(Struct, frozen=True, tag="done"):
    """The result, as JSON of its own type."""

    result: msgspec.Raw


Reply = Progress | Failed | Done


def run_job(
    module: str, order: Struct, result: type[Result], tell: Tell, started: Started = lambda _end: None
) -> Result:
    """What ``python -m module`` makes of `order`, which it gets as JSON on its standard input.

    Raises BadInput where the data or the settings cannot be used, RuntimeError where the work fails.
    """
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    started(child.terminate)
    try:
        return _converse(child, msgspec.json.encode(order), result, tell)
    finally:
        _end(child)


def _converse(child: subprocess.Popen[bytes], order: bytes, result: type[Result], tell: Tell) -> Result:
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    said: deque[bytes] = deque(maxlen=_SAID_LINES)
    errors = child.stderr
    listener = threading.Thread(target=lambda: said.extend(errors), name="child-errors", daemon=True)
    listener.start()
    with contextlib.suppress(BrokenPipeError):  # it has died already, and is asked why below
        # Left open: the child ends when it is closed, which the kernel does too if this process is killed.
        child.stdin.write(order + b"\n")
        child.stdin.flush()
    for line in child.stdout:
        match _reply(line):
            case Progress(text):
                tell(text)
            case Failed(error, True):
                raise BadInput(error)
            case Failed(error, _):
                raise RuntimeError(error)
            case Done(raw):
                return msgspec.json.decode(raw, type=result)
    code = child.wait()
    listener.join(_KILL_SECONDS)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    last = said[-1].decode("utf-8", "replace").strip() if said else ""
    raise RuntimeError(plain(f"the measuring process ended with {how}" + (f": {last}" if last else ""), 400))


def _reply(line: bytes) -> Reply | None:
    """The reply of a line; None for what libraries print."""
    try:
        reply: Reply = msgspec.json.decode(line, type=Reply)
    except msgspec.DecodeError:
        return None
    return reply


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_KILL_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            # A process that hangs in the driver does not even die: nobody waits for it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_KILL_SECONDS)
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
