"""A calibration is measured by a child process, which imports torch and is ended whatever happens here."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from gputrain.engine.calibration import Calibration, signature
from gputrain.engine.calibrationstore import machine_key
from gputrain.engine.check.storage import measure_storage
from gputrain.engine.config import RunConfig
from gputrain.engine.errors import BadInput
from gputrain.engine.machine import Machine
from gputrain.engine.settings import flatten
from gputrain.engine.text import plain

SECONDS = 40.0
"""How long is measured, beside importing torch, scanning the data and building the model."""
_KILL_SECONDS = 5.0
_SAID_LINES = 20


class Progress(Struct, frozen=True, tag="progress"):
    """What is being done now."""

    text: str


class Failed(Struct, frozen=True, tag="failed"):
    """Nothing could be measured."""

    error: str
    bad_input: bool
    """The error is one that the person can mend."""


class Measured(Struct, frozen=True, tag="measured"):
    """The child's result."""

    calibration: Calibration


Reply = Progress | Failed | Measured
Tell = Callable[[str], None]


class Order(Struct, frozen=True):
    """What the child is asked for, as JSON on its standard input."""

    config: RunConfig
    seconds: float
    machine: str
    usable_cores: float
    settings: dict[str, object]
    disk_rate: float | None


def calibrate(config: RunConfig, machine: Machine, *, seconds: float = SECONDS, tell: Tell) -> Calibration:
    """Measure `config` on this machine for about `seconds`; `tell` hears what is being done.

    Raises BadInput where the data or the settings cannot be used, RuntimeError where measuring fails.
    """
    disk_rate = None
    if config.data.data_dir:
        tell("reading files")
        disk_rate = measure_storage(Path(config.data.data_dir)).read_rate
    values = flatten(config)
    order = Order(config, seconds, machine_key(machine), machine.usable_cores, signature(values), disk_rate)
    for reply in _ask(msgspec.json.encode(order)):
        match reply:
            case Progress(text):
                tell(text)
            case Failed(error, True):
                raise BadInput(error)
            case Failed(error, _):
                raise RuntimeError(error)
            case Measured(calibration):
                return calibration
    raise AssertionError("the replies end with a result or an exception")


def _ask(order: bytes) -> Iterator[Reply]:
    """The child's replies. Raises RuntimeError if it ends without a result."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "gputrain.engine.training.calibrate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    said: deque[bytes] = deque(maxlen=_SAID_LINES)
    errors = child.stderr
    listener = threading.Thread(target=lambda: said.extend(errors), name="calibration-errors", daemon=True)
    listener.start()
    try:
        with contextlib.suppress(BrokenPipeError):  # it has died already, and is asked why below
            child.stdin.write(order)
            child.stdin.close()
        for line in child.stdout:
            # Libraries may print too.
            with contextlib.suppress(msgspec.DecodeError):
                yield msgspec.json.decode(line, type=Reply)
        code = child.wait()
        listener.join(_KILL_SECONDS)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        last = said[-1].decode("utf-8", "replace").strip() if said else ""
        raise RuntimeError(plain(f"measuring ended with {how}" + (f": {last}" if last else ""), 400))
    finally:
        _end(child)


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
