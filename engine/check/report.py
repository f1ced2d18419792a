"""What the system check tells: facts for programs, lines for people."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Level = Literal["ok", "note", "warning", "problem"]
"""``note``: could be better, or was not measured; ``warning``: costs speed or may fail; ``problem``: no run works."""
Topic = Literal["software", "gpu", "speed", "cpu", "memory", "disk", "limits", "run"]


class Line(Struct, frozen=True):
    """One finding."""

    topic: Topic
    title: str
    text: str
    level: Level = "ok"
    commands: tuple[str, ...] = ()
    """What a person could do about it, as commands; none is ever run."""


def works(lines: list[Line]) -> bool:
    """Whether a run would work, as far as the check can tell."""
    return not any(line.level == "problem" for line in lines)
