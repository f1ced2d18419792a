"""The events of a run: everything that it reports, and how it is written. Import all of them from here.

One event is one line of ``events.jsonl``: a JSON object that names its own type, with a sequence
number, the format's version, wall-clock and monotonic time. All durations are in seconds, sizes in
bytes, rates per second and shares in 0…1 unless a name says percent. Figures that could not be
measured are None, never 0.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events.advice import Hint, HintsChanged, Prediction, Tuned
from gputrain.engine.events.envelope import FORMAT_VERSION, Event
from gputrain.engine.events.hardware import (
    DeviceSample,
    DiskSample,
    GpuProcess,
    GpuSample,
    HardwareSample,
    MigSample,
    ProcessSample,
)
from gputrain.engine.events.lifecycle import (
    CommandTaken,
    DataReady,
    LogLine,
    ModelReady,
    Notice,
    Outcome,
    Phase,
    PhaseChanged,
    RunEnded,
    RunStarted,
)
from gputrain.engine.events.progress import CheckpointSaved, EpochEnded, LoaderStats, RankSteps, Steps, Validated
from gputrain.engine.events.script import LoaderFound, Scalars, ScriptModel

__all__ = [
    "FORMAT_VERSION",
    "AnyEvent",
    "CheckpointSaved",
    "CommandTaken",
    "DataReady",
    "DeviceSample",
    "DiskSample",
    "EpochEnded",
    "Event",
    "GpuProcess",
    "GpuSample",
    "HardwareSample",
    "Hint",
    "HintsChanged",
    "LoaderFound",
    "LoaderStats",
    "LogLine",
    "MigSample",
    "ModelReady",
    "Notice",
    "Outcome",
    "Phase",
    "PhaseChanged",
    "Prediction",
    "ProcessSample",
    "RankSteps",
    "RunEnded",
    "RunStarted",
    "Scalars",
    "ScriptModel",
    "Steps",
    "Tuned",
    "Validated",
    "decode",
    "encode",
    "stamp",
]

_MAX_TRACEBACK = 100_000
_LARGEST = 1e100
_SUSPICIOUS = re.compile(rb"\\|\x7f|\d[eE]\+?\d\d\d|\d{80}")
"""What a line has that holds an escape, a control character or a number beyond `_LARGEST`."""

AnyEvent = (
    RunStarted
    | PhaseChanged
    | Notice
    | DataReady
    | ModelReady
    | Steps
    | LoaderStats
    | RankSteps
    | LoaderFound
    | ScriptModel
    | Scalars
    | EpochEnded
    | Validated
    | CheckpointSaved
    | HardwareSample
    | HintsChanged
    | Tuned
    | LogLine
    | CommandTaken
    | RunEnded
)

_encoder = msgspec.json.Encoder()


@cache
def _decoder() -> msgspec.json.Decoder[AnyEvent]:
    # Made for the first event and not on import: a screen is seen before.
    return msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """One line of JSON, without the line break. A loss that is not finite becomes null."""
    return _encoder.encode(event)


class _NoFigureError(ValueError):
    """A number that nothing measures, and that overflows in sums."""


def decode(line: bytes) -> AnyEvent | None:
    """The event of a line; None for a torn line, a type that a later version added, or figures beyond 1e100.

    Texts come out harmless (`gputrain.engine.common.sanitize.plain`), whoever wrote them.
    """
    try:
        event: AnyEvent = _decoder().decode(line)
        # JSON shows whether a text can hold anything but printable ASCII: then it has an escape or other bytes.
        if line.isascii() and not _SUSPICIOUS.search(line):
            return event
        harmless: AnyEvent = msgspec.convert(_harmless(msgspec.to_builtins(event)), AnyEvent)
        return harmless
    except (msgspec.DecodeError, UnicodeError, RecursionError, _NoFigureError):
        return None


def _harmless(value: Any, name: str = "") -> Any:
    match value:
        case str() if name == "traceback":
            return "\n".join(map(plain, value[:_MAX_TRACEBACK].split("\n")))
        case str():
            return plain(value)
        case float() if abs(value) > _LARGEST:
            raise _NoFigureError
        case dict():
            return {_harmless(key): _harmless(inner, str(key)) for key, inner in value.items()}
        case list() | tuple():
            return [_harmless(inner) for inner in value]
        case _:
            return value


def stamp(event: AnyEvent, seq: int, wall: float, mono: float) -> AnyEvent:
    """`event` as it is recorded: numbered, versioned and timed."""
    return msgspec.structs.replace(event, seq=seq, v=FORMAT_VERSION, wall=wall, mono=mono)
