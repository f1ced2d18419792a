"""Deleting runs: one by one, or all that are too old or too much. A live run is never touched."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gputrain.engine.errors import BadInput
from gputrain.engine.marks import read_marks
from gputrain.engine.runs import RunDir, RunInfo
from gputrain.engine.text import plain

KEEP = "keep"
"""A run with this tag is left alone by pruning."""
_SECONDS = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_BYTES = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True)
class Pruned:
    """A run that is to go."""

    info: RunInfo
    bytes: int
    why: str


def age(text: str) -> float:
    """``30d``, ``12h`` or ``2w`` in seconds. Raises BadInput."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text.strip())
    if found is None:
        raise BadInput(f"an age is a number with h, d or w (30d, 12h, 2w), got '{plain(text, 40)}'")
    return float(found[1]) * _SECONDS[found[2]]


def amount(text: str) -> int:
    """``50G``, ``500M`` or ``1.5TiB`` in bytes. Raises BadInput."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MGT])(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise BadInput(f"a size is a number with M, G or T (50G, 500M), got '{plain(text, 40)}'")
    return int(float(found[1]) * _BYTES[found[2].upper()])


def size_of(run: RunDir) -> int:
    """Bytes on disk of a run's files; hard links count once."""
    seen: dict[tuple[int, int], int] = {}
    for folder, _, names in os.walk(run.directory):
        for name in names:
            # A file may go while it is looked at: checkpoints do.
            with contextlib.suppress(OSError):
                found = (Path(folder) / name).lstat()
                seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


def delete(run: RunDir) -> None:
    """Remove a run with all its files. Raises BadInput for a live one, or what is no run directory."""
    if not (run.config.exists() or run.events.exists()):
        raise BadInput(f"{run.directory}: not a run directory")
    # By a name that no list shows, first: a run that is half deleted could not be read.
    hidden = run.directory.with_name(f".deleted-{run.id}")
    try:
        with _nobody_else_owns(run):
            run.directory.rename(hidden)
            shutil.rmtree(hidden)
    except OSError as error:
        raise BadInput(f"{run.id} cannot be deleted: {error.strerror}: {error.filename}") from None


@contextlib.contextmanager
def _nobody_else_owns(run: RunDir) -> Iterator[None]:
    """Keep supervisors from `run` inside. Raises BadInput if it has one."""
    handle = os.open(run.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BadInput(f"{run.id} is running; stop it first: gputrain-tui stop {run.id}") from None
    else:
        yield
    finally:
        os.close(handle)


def choose(
    found: Sequence[RunInfo], *, now: float, older: float | None, total: int | None, keep: int = 0
) -> list[Pruned]:
    """Runs of `found` (the newest first) to delete, the oldest first: those that ended over `older` seconds ago, then
    as many more as it takes until all that stay fit into `total` bytes.

    The newest `keep`, live ones, and those with the tag ``keep`` stay, but count; of those that are beyond the size the
    newest run stays too, however large it is. Folders in which no run ever was are nobody's to prune.
    """
    found = [info for info in found if info.status is not None or _has_record(info.run)]
    sizes = [size_of(info.run) for info in found]
    used, chosen = sum(sizes), []
    for number, info in reversed(list(enumerate(found))):
        why = ""
        if older is not None and now - _ended(info) > older:
            why = "too old"
        elif total is not None and used > total and number > 0:
            why = "beyond the size"
        live = info.status is not None and not info.status.state.over
        if why and not live and number >= keep and KEEP not in read_marks(info.run).tags:
            chosen.append(Pruned(info, sizes[number], why))
            used -= sizes[number]
    return chosen


def _has_record(run: RunDir) -> bool:
    """A run was launched here, even if it never got as far as writing its status."""
    return run.events.exists() or run.plan.exists()


def _ended(info: RunInfo) -> float:
    """When a run was last heard of."""
    if info.status is not None:
        return info.status.ended or info.status.heartbeat
    try:
        return info.run.directory.stat().st_mtime
    except OSError:
        return 0.0
