"""The index of a set of shards: built by one scan, kept in the cache folder, and memory-mapped. Imports no torch.

Its name is a hash of the shards' names, sizes and modification times, and of some content: an index of other shards is
never found. Each shard's part is kept too: a killed scan continues, and a replaced shard alone is scanned again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.folder_layouts import shown
from gputrain.engine.datasets.remote_shards import remote_listing
from gputrain.engine.datasets.remote_shards.object_store import RemoteFileChanged, RemoteFileDamaged
from gputrain.engine.datasets.remote_shards.remote_shard_files import RemoteShardFiles, packing_of, wanted_of
from gputrain.engine.datasets.shard_formats import imagenet_labels, shard_scan
from gputrain.engine.datasets.shard_formats.shard_scan import COLUMNS, ScanProgress, ShardPart, ShardScan
from gputrain.engine.datasets.shards import packed_index
from gputrain.engine.datasets.shards.scan_shard import scan_shard
from gputrain.engine.datasets.shards.shard_set import ShardSet, ShardStat

FORMAT = 2
"""Version of the files."""
FACTS = "index.json"
_THREADS = 8
"""Shards that are scanned at once: on a network file system most of the time is waiting."""
_END_BYTES = 1 << 16
_POLL_SECONDS = 0.2
OnFound = Callable[[int], None]
"""Called repeatedly with the images found so far; may raise to stop the scan."""


def home() -> Path:
    """The folder of all indexes. Raises BadInput."""
    return files.cache_home() / "shards"


def shard_stats(shards: ShardSet) -> list[ShardStat]:
    """Size and time of each shard. Raises BadInput naming one that cannot be examined."""
    if shards.is_remote:
        return [ShardStat(stat.size, stat.version) for stat in remote_listing.stats_of(shards.paths)]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="stat") as pool:
        return list(pool.map(_stat, shards.paths))


def _stat(path: str) -> ShardStat:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError as error:
        raise BadInput(f"{shown(path)}: cannot be read: {error.strerror or error}") from None
    return ShardStat(found.st_size, found.st_mtime_ns)


def find_index(shards: ShardSet) -> Path | None:
    """The folder of the shards' index; None if there is none yet. Raises BadInput."""
    folder = home() / _key(shards, shard_stats(shards))
    return folder if (folder / FACTS).is_file() else None


def ensure_index(shards: ShardSet, on_found: OnFound = lambda found: None) -> Path:
    """The folder of the shards' index, which is built if there is none. Raises BadInput, and what `on_found` raises."""
    stats = shard_stats(shards)
    folder = home() / _key(shards, stats)
    if (folder / FACTS).is_file():
        return folder
    try:
        (home() / "parts").mkdir(mode=0o700, parents=True, exist_ok=True)
        with _one_builder(folder, on_found):
            # Another process, such as another rank, may have built it meanwhile.
            if not (folder / FACTS).is_file():
                _write(folder, shards, stats, _scan(shards, stats, on_found))
    except OSError as error:
        raise BadInput(f"the index of the shards in {home()} cannot be written: {error.strerror or error}") from error
    return folder


def _key(shards: ShardSet, stats: Sequence[ShardStat]) -> str:
    rows = [[name, *stat] for name, stat in zip(shards.names(), stats, strict=True)]
    described = [FORMAT, shards.dataset, shards.image_key, shards.label_key, rows]
    if shards.is_fetched:  # a server may say nothing of versions; and the cache's names have the whole path
        described.append(shards.root)
    else:
        described.append(_ends_hash(shards.paths[0], shards.paths[-1]))
    if shards.listed:
        described.append([shard[1:] for shard in shards.listed])
    described += _labels_stat(shards)
    return hashlib.sha256(json.dumps(described).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _labels_stat(shards: ShardSet) -> list[int]:
    """Size and time of the files with the classes; empty if there are none."""
    read = imagenet_labels.files_of(shards.labels_file) if shards.labels_file else []
    return [number for path in read for number in _stat(path)]


def _ends_hash(*paths: str) -> str:
    """A hash of the ends of shards, so that these can be moved, but not be taken for others.

    Shards of two splits may have the same names, and tar files the same size; programs that unpack them set the time.
    """
    found = hashlib.sha256()
    for path in dict.fromkeys(paths):
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                found.update(file.read(_END_BYTES))
                file.seek(max(file.tell(), os.fstat(file.fileno()).st_size - _END_BYTES))
                found.update(file.read(_END_BYTES))
        except OSError as error:
            raise BadInput(f"{shown(path)}: cannot be read: {error.strerror or error}") from None
    return found.hexdigest()


def _part_path(shards: ShardSet, number: int, stat: ShardStat) -> Path:
    described: list[Any] = [FORMAT, shards.dataset, shards.image_key, shards.label_key, shards.paths[number], *stat]
    if shards.listed:
        described.append(shards.listed[number][1:])
    if not shards.is_fetched:
        described.append(_ends_hash(shards.paths[number]))
    described += _labels_stat(shards)
    key = hashlib.sha256(json.dumps(described).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return home() / "parts" / f"{key}.npz"


@contextmanager
def _one_builder(folder: Path, on_found: OnFound) -> Iterator[None]:
    """Wait until no other process builds this index. The lock ends with its process."""
    with (home() / f"{folder.name}.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                on_found(0)
                time.sleep(_POLL_SECONDS)
        yield


def _scan(shards: ShardSet, stats: Sequence[ShardStat], on_found: OnFound) -> list[ShardPart]:
    progress = ScanProgress()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="shards") as pool:
        jobs: list[Future[ShardPart]] = [
            pool.submit(_part, shards, number, stat, progress) for number, stat in enumerate(stats)
        ]
        try:
            pending: set[Future[ShardPart]] = set(jobs)
            while pending:
                done, pending = wait(pending, _POLL_SECONDS)
                for job in done:
                    job.result()
                on_found(progress.total())
        except BaseException:
            progress.stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    return [job.result() for job in jobs]


def _part(shards: ShardSet, number: int, stat: ShardStat, progress: ScanProgress) -> ShardPart:
    """A shard's part, from an earlier scan or a new one."""
    path = shards.paths[number]
    kept, found = _part_path(shards, number, stat), progress.of(path)
    part = shard_scan.read_part(kept)
    if part is None:
        if shards.is_fetched:
            part = _packed_part(shards, path, stat) or _scan_fetched(shards, number, stat, found)
        else:
            part = shard_scan.stored(scan_shard(shards, number, path, found))
            if _stat(path) != stat:
                raise BadInput(f"{shown(path)} changed while it was indexed; start again when it is complete")
        shard_scan.write_part(kept, part)
    found(len(part))
    return part


def _packed_part(shards: ShardSet, url: str, stat: ShardStat) -> ShardPart | None:
    if not shards.is_remote:
        return None
    return packed_index.packed_part(url, stat.size, shards.dataset, shards.image_key, shards.label_key)


def _scan_fetched(shards: ShardSet, number: int, stat: ShardStat, found: Callable[[int], None]) -> ShardPart:
    """The part of a shard that comes into the cache, where it stays as long as there is room."""
    url = shards.paths[number]
    wanted = wanted_of(url, *stat, packing=packing_of(shards.facts(number)))
    remote = RemoteShardFiles([wanted], shards.cache_bytes)
    try:
        handle = remote.fetch_when_room(0, lambda _size: found(0))
    except RemoteFileChanged:
        raise BadInput(f"{shown(url)} changed while it was indexed; start again when it is complete") from None
    except RemoteFileDamaged as error:
        return shard_scan.stored(ShardScan(damage=[error.why]))
    try:
        # By the handle: the file stays in the cache meanwhile.
        return shard_scan.stored(scan_shard(shards, number, f"/proc/self/fd/{handle}", found))
    except BadInput as error:
        raise BadInput(str(error).replace(f"/proc/self/fd/{handle}", shown(url))) from None
    finally:
        os.close(handle)


def _write(folder: Path, shards: ShardSet, stats: Sequence[ShardStat], parts: Sequence[ShardPart]) -> None:
    """Merge the parts into one index, which appears as a whole."""
    names = sorted({name for part in parts for name in part.facts["names"]})
    numbered = [path for path, part in zip(shards.paths, parts, strict=True) if len(part) and not part.facts["names"]]
    if names and numbered:
        raise BadInput(f"{shown(numbered[0])} has class numbers, and other shards have class names; use one of them")
    schemas = {tuple(part.facts["classes"]) for part in parts if len(part)}
    if len(schemas) > 1:
        raise BadInput(f"{shown(shards.root)}: the shards' schemas name different classes; write them anew")
    code = {name: number for number, name in enumerate(names)}
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for column, kind in COLUMNS.items():
            merged = np.concatenate([_column(part, column, code) for part in parts]).astype(kind, copy=False)
            np.save(temporary / f"{column}.npy", merged)
        facts = {
            "shards": [
                {"name": name, "size": stat.size, "mtime": stat.mtime, "images": len(part), **_shard_facts(part)}
                | shards.facts(number)
                for number, (name, stat, part) in enumerate(zip(shards.names(), stats, parts, strict=True))
            ],
            "dataset": shards.dataset,
            "names": names,
            "classes": list(next(iter(schemas), ())),
        }
        (temporary / FACTS).write_text(json.dumps(facts))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _column(part: ShardPart, column: str, code: dict[str, int]) -> npt.NDArray[Any]:
    values = part.columns[column]
    if column == "labels" and part.facts["names"] and len(values):
        table = np.array([code[name] for name in part.facts["names"]], dtype=np.int32)
        values = table[values]
    return values


def _shard_facts(part: ShardPart) -> dict[str, object]:
    facts = {name: part.facts[name] for name in ("damage", "skipped", "codec", "levels")}
    return {**facts, "sha256": part.facts.get("sha256", "")}
