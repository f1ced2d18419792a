"""The mount table of this process (``/proc/self/mountinfo``)."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import Struct

_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(Struct, frozen=True):
    """One line of ``/proc/self/mountinfo``."""

    device: str
    """``major:minor``; major 0 for file systems without a block device."""
    root: str
    """The part of the file system that is mounted."""
    point: str
    kind: str
    """Type of file system: ``ext4``, ``overlay``, ``cgroup2`` …"""
    source: str
    options: frozenset[str]
    """Options of the file system (not of the mount); for cgroup v1 these name the controllers."""


def parse_mounts(text: str) -> list[Mount]:
    """The mounts of a ``mountinfo`` text, in its order; malformed lines are skipped."""
    found = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, rest = left.split(), right.split()
        if not separator or len(fields) < 6 or len(rest) < 2:
            continue
        options = frozenset(rest[2].split(",")) if len(rest) > 2 else frozenset[str]()
        found.append(Mount(fields[2], _plain(fields[3]), _plain(fields[4]), rest[0], _plain(rest[1]), options))
    return found


def read_mounts(proc: Path = Path("/proc")) -> list[Mount]:
    """The mounts visible to this process; empty where ``/proc`` cannot be read."""
    try:
        return parse_mounts((proc / "self" / "mountinfo").read_text(errors="surrogateescape"))
    except OSError:
        return []


def _plain(text: str) -> str:
    """Decode blanks, tabs, line breaks and backslashes, which are written as three octal digits."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)
