"""Findings of the system check: topic, text, level and remedy commands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

_OF_A_GPU = re.compile(r"(.*\bnvidia-smi -i )(\d+)( .*)")
Level = Literal["ok", "note", "warning", "problem"]
"""``note``: could be better, or not measured; ``warning``: costs speed or may fail; ``problem``: no run can start."""
Topic = Literal["software", "gpu", "speed", "cpu", "memory", "disk", "limits", "run"]


class Line(Struct, frozen=True):
    """One finding."""

    topic: Topic
    title: str
    text: str
    level: Level = "ok"
    commands: tuple[str, ...] = ()
    """Suggested commands for the user; the check never runs them."""


def advice(lines: Iterable[Line]) -> list[str]:
    """All commands without duplicates; the same nvidia-smi command for several GPUs becomes one."""
    found: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        for command in line.commands:
            match = _OF_A_GPU.fullmatch(command)
            key, gpu = ((match[1], match[3]), match[2]) if match else ((command, ""), "")
            gpus = found.setdefault(key, [])
            if gpu not in gpus:
                gpus.append(gpu)
    return [before + ",".join(gpus) + after for (before, after), gpus in found.items()]


def no_problems(lines: list[Line]) -> bool:
    """Whether no finding has the level ``problem``."""
    return not any(line.level == "problem" for line in lines)
