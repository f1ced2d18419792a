"""Delete runs: one, or all that are too old or exceed a total size. A live run is never deleted."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.runs.run_directory import FILES, RunDir, RunInfo, runs_home
from gputrain.engine.runs.run_labels import read_marks
from gputrain.engine.runs.run_lock import acquire
from gputrain.engine.runs.run_names import DEFAULT_ID

KEEP = "keep"
"""Pruning does not delete runs with this tag."""
_ORPHANED = "still running: its trainer, whose supervisor was killed, saves into"
_SECONDS = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_BYTES = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True)
class Pruned:
    """A run that `choose` selected, its size in bytes, and why."""

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
            # A file may disappear meanwhile: old checkpoints are deleted.
            with contextlib.suppress(OSError):
                found = (Path(folder) / name).lstat()
                seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


def check_deletable(run: RunDir) -> None:
    """Raises BadInput for a directory that may not be a run, or may hold other files: it must not be deleted."""
    directory = plain(str(run.directory), 300)
    if run.directory.is_symlink() or not run.directory.is_dir():
        raise BadInput(f"{directory}: not a run directory, and not deleted (for a link, name its target)")
    at_home = run.directory.parent.resolve() == runs_home().resolve()
    # A run whose supervisor did not start has no status, but a name from `create`.
    if run.written_status() is None and not (at_home and DEFAULT_ID.fullmatch(run.id)):
        raise BadInput(f"{directory}: not a run directory (it has no status.json of a run), and not deleted")
    foreign = sorted(path.name for path in run.directory.iterdir() if not _is_ours(path.name))
    if foreign and not at_home:
        named = ", ".join(plain(name, 60) for name in foreign[:3]) + (" …" if len(foreign) > 3 else "")
        raise BadInput(
            f"{directory}: outside {runs_home()}, and holds files that are not a run's: {named}; not deleted"
        )


def _is_ours(name: str) -> bool:
    """Whether a run writes a file or folder of this name, temporary files of `write_atomic` included."""
    return name in FILES or any(name.startswith(f".{one}.") for one in FILES)


def delete(run: RunDir) -> None:
    """Delete a run with all its files. Raises BadInput for a live run or another directory."""
    check_deletable(run)
    # Hide it first: lists must not show a half-deleted run.
    hidden = run.directory.with_name(f".deleted-{run.id}")
    try:
        with _locked(run):
            run.directory.rename(hidden)
            shutil.rmtree(hidden)
    except OSError as error:
        raise BadInput(f"{run.id} cannot be deleted: {error.strerror}: {error.filename}") from None


@contextlib.contextmanager
def _locked(run: RunDir) -> Iterator[None]:
    """Hold the locks of `run`, so that no supervisor or trainer starts. Raises BadInput if it has one."""
    with contextlib.ExitStack() as held:
        for lock, who in ((run.lock, "running; stop it first: gputrain-tui stop"), (run.trainer_lock, _ORPHANED)):
            if (handle := acquire(lock)) is None:
                raise BadInput(f"{run.id} is {who} {run.id}")
            held.callback(os.close, handle)
        yield


def choose(
    found: Sequence[RunInfo], *, now: float, older: float | None, total: int | None, keep: int = 0
) -> list[Pruned]:
    """Runs of `found` (newest first) to delete, oldest first: those that ended more than `older` seconds ago, then as
    many as needed until the rest fits into `total` bytes.

    The newest `keep` runs, live runs and runs with the tag ``keep`` stay, but count towards `total`. The newest run is
    never deleted for its size. Folders that never held a run are ignored.
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
    """Whether a run was launched here, even if it wrote no status."""
    return run.events.exists() or run.plan.exists()


def _ended(info: RunInfo) -> float:
    """When the run ended, or was last written, in seconds since 1970."""
    if info.status is not None:
        return info.status.ended or info.status.heartbeat
    try:
        return info.run.directory.stat().st_mtime
    except OSError:
        return 0.0
