"""Reads the stacks that faulthandler writes. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gputrain.engine.common.library_code import is_library
from gputrain.engine.common.sanitize import plain

_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$')
_HEADER = re.compile(r"^(?:Current thread|Thread) (0x[0-9a-f]+)(?: \[(.*)\])? \(most recent call first\):$")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")
_FRAME_LENGTH = 300


@dataclass(frozen=True, slots=True)
class ThreadStack:
    """The stack of one thread."""

    name: str
    """``main thread``, or the name or number that faulthandler gives."""
    frames: tuple[str, ...]
    """``file:line in function``, the innermost first; sanitized."""


def parse(text: str) -> list[ThreadStack]:
    """The threads in one dump of all threads, in its order; the main thread is the last one."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if (header := _HEADER.match(line)) is not None:
            found.append((header[2] or f"thread {header[1]}", []))
        elif found and (frame := _FRAME.match(line)) is not None:
            file, number, function = (_unescaped(part) for part in frame.groups())
            found[-1][1].append(plain(f"{file}:{number} in {function}", _FRAME_LENGTH))
    threads = [ThreadStack(plain(name, 60), tuple(frames)) for name, frames in found]
    if threads:
        # New threads are put at the head of the interpreter's list.
        threads[-1] = ThreadStack("main thread", threads[-1].frames)
    return threads


def own_line(frames: Sequence[str]) -> str:
    """The innermost frame of the user's own code; without such code the innermost one, empty without frames."""
    return next(filter(is_own, frames), frames[0] if frames else "")


def is_own(frame: str) -> bool:
    """Whether a frame is of the user's own code."""
    return not is_library(frame)


def _unescaped(text: str) -> str:
    """faulthandler writes characters outside ASCII as their code."""
    return _ESCAPED.sub(lambda found: chr(min(0x10FFFF, int(found[1] or found[2] or found[3], 16))), text)
