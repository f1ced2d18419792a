"""The shards that the ``index.json`` of a split's folder lists, on this machine or remote."""

from __future__ import annotations

import json
import os
from pathlib import Path

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.remote_urls import checked, is_url
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.record_files.listed_shards import INDEX, ListedShard
from gputrain.engine.datasets.record_files.litdata_index import litdata_chunks
from gputrain.engine.datasets.record_files.mds_index import mds_shards
from gputrain.engine.datasets.remote_shards import remote_listing, unpacking

LISTED = ("mds", "litdata")
"""Values of `dataset` whose shards an index lists."""


def listed_shards(data_dir: str, split: str, dataset: str, setting: str = "train_split") -> list[ListedShard]:
    """The shards of a split, in the order of its index.

    `split` is a folder in `data_dir` with an index, ``.`` for `data_dir` itself, or several joined with ``::``. Raises
    BadInput with `setting`, the place and the remedy.
    """
    home = _home(data_dir, dataset)
    found: list[ListedShard] = []
    for part in split.split("::"):
        folder = home if part in (".", "./") else f"{home}/{part.strip('/')}"
        content = _index_in(folder)
        if content is None:
            raise _no_index(home, folder, setting)
        place = plain(f"{folder}/{INDEX}", 300)
        if dataset == "litdata":
            found += litdata_chunks(content, folder, place)
        else:
            found += mds_shards(content, folder, place, lambda path: not is_url(path) and Path(path).is_file())
    if not any(shard.samples for shard in found):
        raise BadInput(f"{setting}: the {INDEX} of {plain(split, 200)} in {plain(home, 300)} lists no samples")
    for codec in {shard.codec for shard in found if shard.codec or shard.unpacked}:
        unpacking.check_codec(codec, f"{setting}: the data in {plain(home, 300)}")
    paths = [shard.path for shard in found]
    if len(set(paths)) != len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise BadInput(f"{setting}: {plain(twice, 300)} is named twice by {plain(split, 200)}")
    return found


def is_compressed(data_dir: str, split: str, dataset: str) -> bool:
    """Whether shards of a split are compressed; false if its index cannot be read, which the check of the data says."""
    try:
        return any(shard.codec for shard in listed_shards(data_dir, split, dataset))
    except BadInput:
        return False


def layout_in(folder: str) -> str:
    """The value of `dataset` by the index in a folder or at a URL; empty if there is none, or one of another format.

    Raises BadInput if the folder cannot be read.
    """
    try:
        content = _index_in(folder)
        found = json.loads(content or b"{}")
        if "chunks" in found:
            return "litdata"
        return "mds" if found["shards"][0]["format"] == "mds" else ""
    except (ValueError, TypeError, LookupError):
        return ""


def layout_of(data_dir: str, split: str) -> str:
    """The same for the first folder of a split, or for `data_dir` itself."""
    home = data_dir if is_url(data_dir) else os.fspath(files.expand_user(data_dir))
    return layout_in(f"{home}/{split.split('::')[0].strip('/')}") or layout_in(home)


def _home(data_dir: str, dataset: str) -> str:
    if not data_dir:
        raise BadInput(f"data_dir is not set; name the folder of the data: data_dir=/data/{dataset}")
    if is_url(data_dir):
        return checked(data_dir)
    home = files.expand_user(data_dir)
    if not home.is_dir():
        raise BadInput(
            f"data_dir: {plain(os.fspath(home), 300)} is no folder; name the one whose folders have an {INDEX}"
        )
    return os.fspath(home.absolute())


def _index_in(folder: str) -> bytes | None:
    if is_url(folder):
        return remote_listing.content_of(f"{folder}/{INDEX}")
    path = Path(folder, INDEX)
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadInput(f"{plain(os.fspath(path), 300)}: cannot be read: {error.strerror or error}") from None


def _no_index(home: str, folder: str, setting: str) -> BadInput:
    text = f"{setting}: {plain(folder, 300)} has no {INDEX}"
    if _index_in(home) is not None:
        own = "train_split=. val_split=" if setting == "train_split" else f"{setting}="
        return BadInput(f"{text}, but data_dir itself has one: {own}")
    if is_url(home):
        return BadInput(f"{text}; {setting} names the folder in data_dir that has it")
    there = sorted(path.parent.name for path in Path(home).glob(f"*/{INDEX}"))
    has = f"; these folders have one: {', '.join(plain(name, 60) for name in there[:8])}" if there else ""
    return BadInput(f"{text}{has}; {setting} names the folder in data_dir that has it")
