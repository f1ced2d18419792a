"""What the scan of one shard finds: where its images are, their labels, and its damage. Imports no torch."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gputrain.engine.common import files
from gputrain.engine.datasets.record_files.found_images import LONGEST, Damage, Found, LeftOut

COLUMNS: dict[str, type[np.generic]] = {
    "offsets": np.uint64,
    "lengths": np.uint32,
    "labels": np.int32,
    "extra": np.uint32,
}
"""The arrays of an index, one entry an image: 20 bytes."""


@dataclass(slots=True)
class ShardScan:
    """The images of one shard, in order."""

    offsets: list[int] = field(default_factory=list)
    """Where an image begins in the file; in a compressed Parquet file, where its page begins."""
    lengths: list[int] = field(default_factory=list)
    """Its bytes; in a compressed Parquet file, the distance back to the dictionary's page, or 0."""
    labels: list[int] = field(default_factory=list)
    """Class numbers, or places in `names`."""
    extra: list[int] = field(default_factory=list)
    """tar: blocks from the first header to the image. Parquet: the row in its page, or in the file. Arrow: 1 if the
    bytes are the path of the image."""
    numbered: bool = False
    """Whether a label is a class number."""
    names: list[str] = field(default_factory=list)
    """Class names in the order of their first use, if the labels are texts."""
    damage: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    """Samples and files that are no labelled images, by kind."""
    classes: list[str] = field(default_factory=list)
    """Class names that the shard's own schema gives to the numbers."""
    codec: str = ""
    """Parquet: compression of the images' pages; empty if `offsets` are those of the images."""
    levels: int = 0
    """Parquet: the definition level of a value that is present."""
    _codes: dict[str, int] = field(default_factory=dict)
    """The places of `names`."""

    def add(self, offset: int, length: int, label: int | str, extra: int) -> None:
        """Add an image."""
        self.offsets.append(offset)
        self.lengths.append(min(length, LONGEST))
        self.extra.append(extra)
        if isinstance(label, int):
            self.numbered = True
            self.labels.append(label)
            return
        code = self._codes.setdefault(label, len(self.names))
        if code == len(self.names):
            self.names.append(label)
        self.labels.append(code)

    def take(self, found: Iterable[Found]) -> ShardScan:
        """Add all that a reader of record files found; returns this scan."""
        for one in found:
            if isinstance(one, Damage):
                self.damage.append(one.why)
            elif isinstance(one, LeftOut):
                self.skipped[one.kind] = self.skipped.get(one.kind, 0) + 1
            else:
                self.add(one.offset, one.length, one.label, 0)
        return self

    def facts(self) -> dict[str, Any]:
        """All but the columns, as JSON."""
        names = ("names", "damage", "skipped", "classes", "codec", "levels")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class ShardPart:
    """A shard's scan as it is stored."""

    columns: dict[str, npt.NDArray[Any]]
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.columns["offsets"])


def stored(scan: ShardScan) -> ShardPart:
    """The part of a scan."""
    columns = {name: np.array(getattr(scan, name), dtype=kind) for name, kind in COLUMNS.items()}
    return ShardPart(columns, scan.facts())


def write_part(path: Path, part: ShardPart, mode: int = 0o600) -> None:
    """Write a part atomically. Raises OSError."""
    content = io.BytesIO()
    facts = np.frombuffer(json.dumps(part.facts).encode(), dtype=np.uint8)
    np.savez(content, facts=facts, **part.columns)  # type: ignore[arg-type]
    files.write_atomic(path, content.getvalue(), mode)


def read_part(path: Path) -> ShardPart | None:
    """A part; None if it is absent or damaged."""
    try:
        return part_of(path.read_bytes())
    except OSError:
        return None


def part_of(content: bytes) -> ShardPart | None:
    """The part in the content of a file; None if it is damaged."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            facts = json.loads(found["facts"].tobytes())
            columns = {name: found[name] for name in COLUMNS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if any(len(column) != len(columns["offsets"]) for column in columns.values()):
        return None
    return ShardPart(columns, facts)


class ScanProgress:
    """Images found so far by all threads, and the order to stop."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._found: dict[str, int] = {}

    def of(self, path: str) -> Callable[[int], None]:
        """What the scan of one shard calls with its images so far; raises InterruptedError after `stopped`."""

        def found(count: int) -> None:
            if self.stopped.is_set():
                raise InterruptedError("the scan was stopped")
            self._found[path] = count

        return found

    def total(self) -> int:
        """Images of all shards so far."""
        return sum(list(self._found.values()))
