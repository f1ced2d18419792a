"""Index of the checkpoints in a folder: ``index.json`` with step, epoch and SHA-256. Imports no torch.

A file that is not listed, or does not match its checksum, does not count. ``best`` is another name of the checkpoint
marked as the best. `checkpoint_files` writes checkpoints, `newest_checkpoint` loads them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import write_atomic
from gputrain.engine.common.sanitize import plain

INDEX = "index.json"
BEST = "best"
"""Name of the best checkpoint, without the suffix of its format."""
SHARDS = ".shards"
"""Suffix of the folders with the parts of sharded checkpoints."""
_CHUNK = 1 << 20


class ShardFile(msgspec.Struct, frozen=True):
    """A file of a sharded checkpoint, which one rank has written."""

    file: str
    """``folder/name``, in the folder of the checkpoints."""
    sha256: str
    bytes: int


class CheckpointEntry(msgspec.Struct, frozen=True):
    """A complete checkpoint."""

    file: str
    step: int
    epoch: int
    sha256: str
    bytes: int
    best: bool = False
    """Its validation is the best so far."""
    shards: tuple[ShardFile, ...] = ()
    """Files with the tensors, if each rank has written its part."""

    @property
    def all_bytes(self) -> int:
        """Bytes of all its files."""
        return self.bytes + sum(shard.bytes for shard in self.shards)

    @property
    def shards_folder(self) -> str:
        """Name of the folder with `shards`; empty without."""
        return self.shards[0].file.partition("/")[0] if self.shards else ""


def read_index(folder: Path) -> list[CheckpointEntry]:
    """The complete checkpoints of a folder, in the order of writing."""
    try:
        entries = msgspec.json.decode((folder / INDEX).read_bytes(), type=list[CheckpointEntry])
    except (OSError, msgspec.DecodeError, UnicodeError):
        return []
    # Only names of files in this folder, whatever the index contains.
    return [entry for entry in entries if entry.file == Path(entry.file).name and _inside(entry)]


def _inside(entry: CheckpointEntry) -> bool:
    parts = [Path(shard.file).parts for shard in entry.shards]
    return all(len(part) == 2 and part[0].endswith(SHARDS) and ".." not in part for part in parts)


def write_index(folder: Path, entries: list[CheckpointEntry]) -> None:
    """Replace the index atomically. Raises OSError and leaves the old one."""
    write_atomic(folder / INDEX, msgspec.json.encode(entries))


def matches_checksum(folder: Path, entry: CheckpointEntry) -> bool:
    """Whether the files of `entry` match their sizes and checksums; reads them all."""
    shards = ((shard.file, shard.bytes, shard.sha256) for shard in entry.shards)
    files = ((entry.file, entry.bytes, entry.sha256), *shards)
    return all(_matches(folder / file, size, checksum) for file, size, checksum in files)


def _matches(path: Path, size: int, checksum: str) -> bool:
    try:
        return path.stat().st_size == size and sha256(path) == checksum
    except OSError:
        return False


def sha256(path: Path) -> str:
    """Checksum of a file. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def newest_first(entries: list[CheckpointEntry]) -> list[CheckpointEntry]:
    """Sorted from the last step to the first; of one step, the entry written last comes first."""
    return sorted(entries, key=lambda entry: entry.step)[::-1]


def find(folder: Path, wanted: str) -> CheckpointEntry:
    """The checkpoint of a folder: `wanted` is ``last``, ``best`` or a step's number.

    Raises BadInput with a list of the existing ones.
    """
    entries = read_index(folder)
    if not entries:
        raise BadInput(f"{folder} has no complete checkpoint")
    if wanted == "last":
        return newest_first(entries)[0]
    for entry in newest_first(entries):
        if entry.best if wanted == "best" else str(entry.step) == wanted:
            return entry
    steps = ", ".join(str(step) for step in sorted({entry.step for entry in entries}))
    best = "; none is marked as the best" if not any(entry.best for entry in entries) else ""
    raise BadInput(f"no checkpoint '{plain(wanted, 40)}' in {folder}: it has those of step {steps}{best}")
