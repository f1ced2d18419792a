"""The events of a run: their types, encoding and decoding. Import all of them from here.

One event is one line of ``events.jsonl``: a JSON object that names its own type, with a sequence
number, the format's version, wall-clock and monotonic time. All durations are in seconds, sizes in
bytes, rates per second and shares in 0…1 unless a name says percent. Values that could not be
measured are None, never 0.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec

from gputrain.engine.common import renamed_names
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
from gputrain.engine.events.node_sample import NodeSample
from gputrain.engine.events.progress import CheckpointSaved, EpochEnded, LoaderStats, RankSteps, Steps, Validated
from gputrain.engine.events.script import LoaderFound, Scalars, ScriptModel
from gputrain.engine.events.stacks import ProcessAsked, SharedStack, StacksTaken
from gputrain.engine.events.trace import OperatorTime, SyncPoint, Traced, TraceSummary

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
    "NodeSample",
    "Notice",
    "OperatorTime",
    "Outcome",
    "Phase",
    "PhaseChanged",
    "Prediction",
    "ProcessAsked",
    "ProcessSample",
    "RankSteps",
    "RunEnded",
    "RunStarted",
    "Scalars",
    "ScriptModel",
    "SharedStack",
    "StacksTaken",
    "Steps",
    "SyncPoint",
    "TraceSummary",
    "Traced",
    "Tuned",
    "Validated",
    "decode",
    "encode",
    "stamp",
]

_MAX_TRACEBACK = 100_000
_LARGEST = 1e100
_SUSPICIOUS = re.compile(rb"\\|\x7f|\d[eE]\+?\d\d\d|\d{80}")
"""Matches lines that may hold an escape, a control character or a number above `_LARGEST`."""
_OLD_NAMES = renamed_names.old_names_pattern()

AnyEvent = (
    RunStarted
    | PhaseChanged
    | Notice
    | DataReady
    | ModelReady
    | Steps
    | LoaderStats
    | RankSteps
    | NodeSample
    | LoaderFound
    | ScriptModel
    | Scalars
    | EpochEnded
    | Validated
    | CheckpointSaved
    | HardwareSample
    | HintsChanged
    | Tuned
    | StacksTaken
    | Traced
    | LogLine
    | CommandTaken
    | RunEnded
)

_encoder = msgspec.json.Encoder()


@cache
def _decoder() -> msgspec.json.Decoder[AnyEvent]:
    # Created with the first event, not on import, which would delay the first screen.
    return msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """One line of JSON, without the line break. NaN and infinity become null."""
    return _encoder.encode(event)


class _TooLargeError(ValueError):
    """A number above `_LARGEST`: nothing measures it, and sums would overflow."""


def decode(line: bytes) -> AnyEvent | None:
    """The event of a line; None for an incomplete line, a type of a later version, or numbers above 1e100.

    Old names of types, fields and settings become the present ones. Texts are sanitized
    (`gputrain.engine.common.sanitize.plain`).
    """
    try:
        event: AnyEvent = _decode_renamed(line) if _OLD_NAMES.search(line) else _decoder().decode(line)
        # In JSON, text that is not printable ASCII has an escape or non-ASCII bytes.
        if line.isascii() and not _SUSPICIOUS.search(line):
            return event
        sanitized: AnyEvent = msgspec.convert(_sanitized(msgspec.to_builtins(event)), AnyEvent)
        return sanitized
    except (msgspec.DecodeError, UnicodeError, RecursionError, _TooLargeError):
        return None


def _decode_renamed(line: bytes) -> AnyEvent:
    # Slower than the typed decoder (about 10 times), and needed for records of older versions only.
    fields = msgspec.json.decode(line)
    if not isinstance(fields, dict):
        raise msgspec.DecodeError("an event is a JSON object")
    event: AnyEvent = msgspec.convert(renamed_names.current_event(fields), AnyEvent)
    return event


def _sanitized(value: Any, name: str = "") -> Any:
    match value:
        case str() if name == "traceback":
            return "\n".join(map(plain, value[:_MAX_TRACEBACK].split("\n")))
        case str():
            return plain(value)
        case float() if abs(value) > _LARGEST:
            raise _TooLargeError
        case dict():
            return {_sanitized(key): _sanitized(inner, str(key)) for key, inner in value.items()}
        case list() | tuple():
            return [_sanitized(inner) for inner in value]
        case _:
            return value


def stamp(event: AnyEvent, seq: int, wall: float, mono: float) -> AnyEvent:
    """`event` with the number, format version and times that the record needs."""
    return msgspec.structs.replace(event, seq=seq, v=FORMAT_VERSION, wall=wall, mono=mono)
