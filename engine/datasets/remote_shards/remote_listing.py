"""Which shards a remote folder has, and small files beside them."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.remote_shards import retries
from gputrain.engine.datasets.remote_shards.choose_store import store_of
from gputrain.engine.datasets.remote_shards.object_store import (
    RemoteError,
    RemoteFileMissing,
    RemoteStat,
)

_THREADS = 16
_LARGEST = 1 << 28
"""Bytes of a file beside the shards."""


def names_in(folder: str) -> list[str] | None:
    """The names in a folder, folders with a ``/`` at the end; None where none can be listed. Raises BadInput."""
    store = store_of(folder)
    try:
        return retries.with_retries(lambda: store.names(folder))
    except RemoteFileMissing:
        return []
    except RemoteError as error:
        raise BadInput(f"data_dir: {error}") from None


def matching(folder: str, pattern: str) -> list[str]:
    """URLs of the files that match a glob without ``**``, sorted. Raises BadInput where none can be listed."""
    head, slash, rest = pattern.partition("/")
    names = names_in(folder)
    if names is None:
        raise BadInput(
            f"{plain(folder, 300)}: a web server has no listings; name the shards with braces: "
            "train_split='train-{000000..000146}.tar'"
        )
    if not slash:
        return [f"{folder}/{name}" for name in names if fnmatch.fnmatchcase(name, head) and not name.startswith(".")]
    inside = [name for name in names if name.endswith("/") and fnmatch.fnmatchcase(name[:-1], head)]
    return [url for name in inside for url in matching(f"{folder}/{name[:-1]}", rest)]


def stats_of(urls: Sequence[str]) -> list[RemoteStat]:
    """Size and version of each file. Raises BadInput naming one that does not exist, or cannot be examined."""
    store = store_of(urls[0])
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="stat") as pool:
        try:
            return list(pool.map(lambda url: retries.with_retries(lambda: store.stat(url)), urls))
        except RemoteError as error:
            pool.shutdown(cancel_futures=True)
            raise BadInput(str(error)) from None


def content_of(url: str) -> bytes | None:
    """A small file; None if there is none. Raises BadInput."""
    store = store_of(url)

    def read() -> bytes:
        stat = store.stat(url)
        if stat.size > _LARGEST:
            raise RemoteError(url, f"{stat.size:,} bytes are too many", passing=False)
        content = b"".join(store.read(url, stat, 0)) if stat.size else b""
        if len(content) != stat.size:
            raise RemoteError(url, "the connection broke off", passing=True)
        return content

    try:
        return retries.with_retries(read)
    except RemoteFileMissing:
        return None
    except RemoteError as error:
        raise BadInput(str(error)) from None
