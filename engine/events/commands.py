"""Commands to a run, one JSON object each: they travel in the opposite direction of its events."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from gputrain.engine.events import Prediction


class Command(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """A request to a run; `sender`: user, host and terminal."""

    sender: str = ""
    """User, host and terminal."""


class StopCommand(Command, frozen=True, tag="stop"):
    """Stop the run: after a checkpoint, or at once."""

    checkpoint: bool = True
    """Write a checkpoint first."""
    preempt: bool = False
    """The request comes from a batch system: the run should be resumed."""
    signal: int = 0
    """What a script of the user's own gets; 0: SIGINT, or SIGTERM where no checkpoint is wanted."""


class CheckpointCommand(Command, frozen=True, tag="checkpoint"):
    """Write a checkpoint after the current step."""


class PauseCommand(Command, frozen=True, tag="pause"):
    """Pause training; everything stays in memory."""


class ResumeCommand(Command, frozen=True, tag="resume"):
    """Continue after `PauseCommand`."""


EXACT_SETTINGS = ("num_workers", "prefetch_factor", "persistent_workers", "loader", "pin_memory", "non_blocking")
"""Settings that a running training can change while its losses stay the same bit for bit."""
LIVE_SETTINGS = (*EXACT_SETTINGS, "cache")
"""Settings that a running training can change between two batches; cached images are resized twice."""


class TuneCommand(Command, frozen=True, tag="tune"):
    """Try other data loading settings, measure, and keep or revert them."""

    changes: dict[str, Any]
    """`LIVE_SETTINGS` only."""
    aim: Literal["speed", "memory"] = "speed"
    """The goal: a change for memory is kept unless the training becomes slower."""
    promised: Prediction | None = None
    """What the hint predicted."""


class StacksCommand(Command, frozen=True, tag="stacks"):
    """Record the stacks of all threads of the run's processes, as `StacksTaken`."""

    id: str
    """A word that the answer repeats."""


class ProfileCommand(Command, frozen=True, tag="profile"):
    """Record the next steps with torch's profiler; answered by `Traced`."""

    id: str
    """A word that the answers repeat."""
    steps: int = 10
    """Number of steps."""
    path: str = ""
    """Set by the supervisor: the file that the trainer writes."""


AnyCommand = (
    StopCommand | CheckpointCommand | PauseCommand | ResumeCommand | TuneCommand | StacksCommand | ProfileCommand
)

_encoder = msgspec.json.Encoder()


def encode_command(command: AnyCommand) -> bytes:
    """A command as JSON."""
    return _encoder.encode(command)


def decode_command(raw: bytes) -> AnyCommand:
    """The command in `raw`. Raises msgspec.DecodeError."""
    command: AnyCommand = msgspec.json.decode(raw, type=AnyCommand)
    return command
