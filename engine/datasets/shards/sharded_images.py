"""ShardedImages: reads images by index from shards of any format, with pread at their offsets. Imports no torch.

The index is memory-mapped: all workers of a machine share one copy, and a worker gets it as a path.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.remote_urls import is_url
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.hugging_face import row_ranges
from gputrain.engine.datasets.record_files.found_images import LONGEST
from gputrain.engine.datasets.remote_shards.object_store import RemoteFileChanged, RemoteFileDamaged
from gputrain.engine.datasets.remote_shards.remote_shard_files import (
    OnDownload,
    RemoteShardFiles,
    packing_of,
    wanted_of,
)
from gputrain.engine.datasets.shard_formats import parquet_pages, tar_members
from gputrain.engine.datasets.shard_formats.shard_scan import COLUMNS
from gputrain.engine.datasets.shards.shard_index import FACTS

_MOST_OPEN = 256
"""Shards that a process keeps open; those above are opened for each image."""
_TAR = ("webdataset", "imagenet")
_SAMPLE = {"parquet": "row", "hf": "row", "mds": "sample", "litdata": "sample", "tfrecord": "record"}
"""What a sample is called, where it has no name."""
_CHANGED = "its shard changed after it was indexed; start the run again"


class ShardFault(Exception):  # noqa: N818 - reads as what it is
    """An image of a shard cannot be read; `why` is a phrase for the user."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def _image_at(path: bytes, limit: int) -> bytes:
    """The bytes of the file that a row names instead of an image. Raises ShardFault."""
    name = os.fsdecode(path)
    try:
        # Non-blocking: a FIFO would wait for a writer forever.
        handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ShardFault(f"its row names {plain(name, 300)}, which is no regular file")
            data = file.read(limit)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ShardFault(f"its row names {plain(name, 300)}, which cannot be read: {why}") from None
    if len(data) >= limit:
        raise ShardFault(f"its row names {plain(name, 300)}, which has more than the limit of {limit:,} bytes")
    return data


class ShardedImages:
    """The images of a set of shards."""

    def __init__(self, folder: Path, root: str, cache_bytes: int = 0, rows: str = "") -> None:
        """`folder`: the index; `root`: the folder of the shards, or its URL; `cache_bytes`: limit of the cache of
        remote ones, 0: what the disk has; `rows`: the part that is used, see `row_ranges`.

        Raises BadInput if the index cannot be read, or has no such rows.
        """
        self._folder, self.root, self._cache_bytes, self._rows = folder, root, cache_bytes, rows
        try:
            facts: dict[str, Any] = json.loads((folder / FACTS).read_bytes())
            # As plain arrays: an item of a memmap takes three times as long.
            columns = {name: np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray) for name in COLUMNS}
        except (OSError, ValueError) as error:
            raise BadInput(f"{folder}: the index cannot be read ({error}); remove the folder and start again") from None
        self.shards: list[dict[str, Any]] = facts["shards"]
        """name, size, mtime, images, damage, skipped, codec and levels of each shard; packed, unpacked and exact if an
        index lists them.
        """
        self._unused = [0] * len(self.shards)
        """Images of each shard in front of the first that is used."""
        if rows:
            columns = self._part(columns, rows)
        self.offsets: npt.NDArray[np.uint64] = columns["offsets"]
        self.lengths: npt.NDArray[np.uint32] = columns["lengths"]
        self.labels: npt.NDArray[np.int32] = columns["labels"]
        self._extra: npt.NDArray[np.uint32] = columns["extra"]
        self.label_names: list[str] = facts["names"]
        """Class names if the labels are texts."""
        self.schema_classes: list[str] = facts["classes"]
        """Class names that a Parquet schema gives to the numbers."""
        self._dataset: str = facts["dataset"]
        self.starts = np.cumsum([0, *(shard["images"] for shard in self.shards)], dtype=np.int64)
        """(shards + 1,): the index of each shard's first image."""
        self._firsts: list[int] = self.starts.tolist()
        self._stats = [(shard["size"], shard["mtime"]) for shard in self.shards]
        self._paths = [f"{root}/{shard['name']}" for shard in self.shards]
        self._open: dict[int, int] = {}
        self._opening = threading.Lock()
        self._pages = parquet_pages.PageCache()
        self.remote: RemoteShardFiles | None = None
        """The shards' files if they come into the cache first: remote ones, and compressed ones."""
        if is_url(root) or any(shard.get("packed") for shard in self.shards):
            listed = zip(self._paths, self._stats, self.shards, strict=True)
            self.remote = RemoteShardFiles(
                [wanted_of(url, *stat, facts["sha256"], packing_of(facts)) for url, stat, facts in listed],
                cache_bytes,
            )

    def _part(self, columns: dict[str, npt.NDArray[Any]], rows: str) -> dict[str, npt.NDArray[Any]]:
        """The columns of the rows that are used; `shards` then counts these. Raises BadInput."""
        first, last = row_ranges.bounds(rows, len(columns["offsets"]))
        end = 0
        for number, shard in enumerate(self.shards):
            begin, end = end, end + shard["images"]
            self._unused[number] = min(max(first - begin, 0), shard["images"])
            shard["images"] = max(0, min(last, end) - max(first, begin))
        return {name: column[first:last] for name, column in columns.items()}

    def __reduce__(self) -> tuple[type[ShardedImages], tuple[Path, str, int, str]]:
        return ShardedImages, (self._folder, self.root, self._cache_bytes, self._rows)

    def __del__(self) -> None:
        for handle in getattr(self, "_open", {}).values():
            os.close(handle)

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def key(self) -> str:
        """A hash of the shards' names, sizes and times, and the part that is used."""
        return f"{self._folder.name}[{self._rows}]" if self._rows else self._folder.name

    def digest(self) -> str:
        """A hash of all lengths and labels: that of the same shards on any machine, whatever their folder and time."""
        found = hashlib.sha256(f"{len(self)} {self.label_names} {self.schema_classes}".encode())
        for column in (self.lengths, self.labels):
            found.update(np.ascontiguousarray(column).data)
        return found.hexdigest()

    def shard_of(self, index: int) -> int:
        """The number of an image's shard."""
        return bisect.bisect_right(self._firsts, index) - 1

    def images_shared_with(self, other: ShardedImages) -> int:
        """How many images are also in `other`, which may be another part of the same shards."""
        theirs = {path: number for number, path in enumerate(other._paths)}
        return sum(
            max(0, min(self._end(at), other._end(theirs[path])) - max(self._unused[at], other._unused[theirs[path]]))
            for at, path in enumerate(self._paths)
            if path in theirs
        )

    def _end(self, shard: int) -> int:
        return self._unused[shard] + int(self.shards[shard]["images"])

    def shard_path(self, shard: int) -> str:
        """The path of a shard by its number."""
        return self._paths[shard]

    def place(self, index: int) -> str:
        """Where an image is, for errors: found without reading the shard."""
        shard = self.shard_of(index)
        return f"{self._paths[shard]} (image {self._row(shard, index)})"

    def _row(self, shard: int, index: int) -> int:
        return index - self._firsts[shard] + self._unused[shard]

    def name(self, index: int) -> str:
        """An image's name: that of its shard, and of the file in it or its row. Reads the shard."""
        shard = self.shard_of(index)
        row = self._row(shard, index)
        member = self._member_name(shard, index) if self._dataset in _TAR else f"{_SAMPLE[self._dataset]} {row}"
        return f"{self.shards[shard]['name']}/{member or f'image {row}'}"

    def _member_name(self, shard: int, index: int) -> str:
        try:
            if self.remote is None:
                handle = os.open(self._paths[shard], os.O_RDONLY | os.O_CLOEXEC)
            elif (cached := self.remote.open_cached(shard)) is not None:
                handle = cached
            else:
                return ""  # a name is not worth a download
        except OSError:
            return ""
        try:
            return tar_members.member_name(handle, int(self.offsets[index]), int(self._extra[index]))
        finally:
            os.close(handle)

    def read(self, index: int, limit: int = LONGEST, on_download: OnDownload = lambda seconds, size: None) -> bytes:
        """The bytes of an image; `on_download` is called if its shard had to come first.

        Raises ShardFault, also for `limit` bytes and more, OSError of the shard, or BadInput if it cannot be fetched.
        """
        shard = self.shard_of(index)
        if self.lengths[index] >= limit and not self.shards[shard]["codec"]:
            raise ShardFault(f"{self.lengths[index]:,} bytes, more than the limit of {limit:,}")
        if self.remote is not None:
            return self._read_remote(self.remote, shard, index, on_download)
        handle, kept = self._handle(shard)
        try:
            data = self._content(handle, shard, index)
        finally:
            if not kept:
                os.close(handle)
        # After the read: a shard that is overwritten meanwhile is noticed, too. By its name: a new file may replace it.
        found = os.stat(self._paths[shard])  # noqa: PTH116 - for every image
        if (found.st_size, found.st_mtime_ns) != self._stats[shard]:
            raise ShardFault(_CHANGED)
        if self._dataset == "hf" and self._extra[index]:
            return _image_at(data, limit)
        return data

    def _read_remote(self, remote: RemoteShardFiles, shard: int, index: int, on_download: OnDownload) -> bytes:
        try:
            # Unpacking is no download: its time is that of the read.
            handle = remote.open(shard) if remote.is_local else remote.open(shard, on_download)
        except RemoteFileChanged:
            raise ShardFault(_CHANGED) from None
        except RemoteFileDamaged as error:
            raise ShardFault(error.why) from None
        try:
            return self._content(handle, shard, index)
        finally:
            os.close(handle)  # its lock ends, and with it the shard's use

    def _content(self, handle: int, shard: int, index: int) -> bytes:
        offset, length = int(self.offsets[index]), int(self.lengths[index])
        codec = self.shards[shard]["codec"]
        if codec:
            place = parquet_pages.PagedValue(
                (shard, offset), length, int(self._extra[index]), codec, self.shards[shard]["levels"]
            )
            try:
                value = self._pages.value(handle, place)
            except (ValueError, LookupError) as error:
                raise ShardFault(f"its page in the shard cannot be read: {error}") from None
            if value is None:
                raise ShardFault("the row has no image")
            return value
        if not length:
            sample = _SAMPLE.get(self._dataset)
            raise ShardFault(f"the {sample} has no image" if sample else "the file is empty")
        data = os.pread(handle, length, offset)
        if len(data) == length:
            return data
        parts = [data]
        while missing := length - sum(map(len, parts)):
            more = os.pread(handle, missing, offset + length - missing)
            if not more:
                raise ShardFault(_CHANGED)
            parts.append(more)
        return b"".join(parts)

    def _handle(self, shard: int) -> tuple[int, bool]:
        """The open shard, and whether it stays open."""
        handle = self._open.get(shard)
        if handle is not None:
            return handle, True
        handle = os.open(self._paths[shard], os.O_RDONLY | os.O_CLOEXEC)
        with self._opening:
            if shard in self._open or len(self._open) >= _MOST_OPEN:
                return handle, False
            self._open[shard] = handle
        return handle, True
