"""Runs a job that needs torch in a child process: one order in, progress and one result out, as JSON lines.

This process does not import torch. The child exits when this process ends, for whatever reason.
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
_STDERR_LINES = 20

Tell = Callable[[str], None]
"""Progress callback: gets a text about the current work."""
Started = Callable[[Callable[[], None]], None]
"""Called once the child runs, with a function that ends it early."""
Result = TypeVar("Result")


class Progress(Struct, frozen=True, tag="progress"):
    """The current work, in words."""

    text: str


class Failed(Struct, frozen=True, tag="failed"):
    """The job failed."""

    error: str
    bad_input: bool
    """True: the user can fix it (`BadInput`)."""


class Done(Struct, frozen=True, tag="done"):
    """The result, as JSON of the job's result type."""

    result: msgspec.Raw


Reply = Progress | Failed | Done


def run_job(
    module: str, order: Struct, result: type[Result], tell: Tell, started: Started = lambda _end: None
) -> Result:
    """Run ``python -m module`` with `order` as JSON on its standard input; returns its result.

    `tell` gets progress texts. Raises BadInput for unusable data or settings, RuntimeError if the job fails.
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
    stderr_lines: deque[bytes] = deque(maxlen=_STDERR_LINES)
    errors = child.stderr
    listener = threading.Thread(target=lambda: stderr_lines.extend(errors), name="child-errors", daemon=True)
    listener.start()
    with contextlib.suppress(BrokenPipeError):  # the child has ended; its exit code is read below
        # Left open: the child exits when it closes, which the kernel does too if this process is killed.
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
    last = stderr_lines[-1].decode("utf-8", "replace").strip() if stderr_lines else ""
    raise RuntimeError(plain(f"the job process ended with {how}" + (f": {last}" if last else ""), 400))


def _reply(line: bytes) -> Reply | None:
    """The reply in a line; None for other output (libraries print too)."""
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
            # A process that hangs in a driver cannot be killed: do not wait for it longer.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_KILL_SECONDS)
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
