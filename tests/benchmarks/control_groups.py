"""Puts this process under limits with cgroups, version 1 or 2."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gputrain.engine.hardware.mounts import read_mounts

ROOT, PROC = Path("/sys/fs/cgroup"), Path("/proc")
_PERIOD = 100_000
"""Microseconds of a quota's period."""


class NoGroup(Exception):  # noqa: N818 - the name states the condition
    """This process cannot create a cgroup here."""


@dataclass(frozen=True)
class Limit:
    """A limit for both versions: controller, file, text."""

    old: tuple[str, str, str]
    new: tuple[str, str, str]


def cpu(cores: float) -> Limit:
    """A quota of `cores`."""
    quota = int(cores * _PERIOD)
    return Limit(("cpu", "cpu.cfs_quota_us", f"{quota}"), ("cpu", "cpu.max", f"{quota} {_PERIOD}"))


def disk(folder: Path, per_second: int) -> Limit:
    """A limit of bytes per second read from the disk of `folder`."""
    number = folder.stat().st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    return Limit(
        ("blkio", "blkio.throttle.read_bps_device", f"{name} {per_second}"),
        ("io", "io.max", f"{name} rbps={per_second}"),
    )


def memory(size: int) -> Limit:
    """A memory limit in bytes."""
    return Limit(("memory", "memory.limit_in_bytes", f"{size}"), ("memory", "memory.max", f"{size}"))


@contextlib.contextmanager
def limited(limit: Limit, root: Path = ROOT, proc: Path = PROC) -> Iterator[Path]:
    """Move this process into a new group under `limit`; yields its folder. Raises NoGroup.

    Tests pass other `root` and `proc`.
    """
    paths: dict[str, str] = {}
    for line in (proc / "self" / "cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        paths |= dict.fromkeys(names.split(","), path.lstrip("/"))
    controller, file, text = limit.old
    if controller in paths:
        own = parent = root / controller / paths[controller]
    else:
        controller, file, text = limit.new
        own, parent = _places(controller, paths, proc)
    group = parent / f"gputrain-bench-{os.getpid()}"
    try:
        group.mkdir()
        (group / file).write_text(text)
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        raise NoGroup(f"control groups cannot be changed here: {error}") from None
    try:
        yield group
    finally:
        (own / "cgroup.procs").write_text(str(os.getpid()))
        # Its worker processes may need a moment to leave.
        with contextlib.suppress(OSError):
            group.rmdir()


def _places(controller: str, paths: dict[str, str], proc: Path) -> tuple[Path, Path]:
    """This process's group of version 2, and the group below which another one has `controller`.

    A group with processes of its own cannot give controllers to groups below it, so that the new one stands beside.
    """
    mount = next((one for one in read_mounts(proc) if one.kind == "cgroup2"), None)
    if mount is None or "" not in paths:
        raise NoGroup(f"no control groups with '{controller}' are mounted")
    top = Path(mount.point)
    own = top / paths[""]
    for parent in (own, own.parent):
        if parent == top.parent:
            break
        if controller in _words(parent / "cgroup.subtree_control"):
            return own, parent
    if controller not in _words(own / "cgroup.controllers"):
        raise NoGroup(f"the control group of this process has no controller '{controller}'")
    try:
        (own / "cgroup.subtree_control").write_text(f"+{controller}")
    except OSError as error:
        raise NoGroup(f"no group below this one may have the controller '{controller}': {error.strerror}") from None
    return own, own


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
