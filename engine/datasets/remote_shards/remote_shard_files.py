"""The shards of a split that are remote or compressed: each comes into the cache of the machine before it is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gputrain.engine.common import remote_urls
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.remote_urls import is_url
from gputrain.engine.datasets.remote_shards.choose_store import store_of
from gputrain.engine.datasets.remote_shards.object_store import (
    ObjectStore,
    RemoteError,
    RemoteFileChanged,
    RemoteFileDamaged,
    RemoteStat,
)
from gputrain.engine.datasets.remote_shards.shard_cache import CacheFull, ShardCache, Wanted
from gputrain.engine.datasets.remote_shards.unpacking import NOT_PACKED, Packing

OnDownload = Callable[[float, int], None]
"""Called with the seconds that a reader waited for a shard, and the bytes that it downloaded itself."""

_FULL_SECONDS = 20.0
_POLL_SECONDS = 0.1


def _uncounted(_seconds: float, _size: int) -> None:
    pass


class RemoteShardFiles:
    """Gives open handles of shards by number. A worker process gets a copy, and connections of its own."""

    def __init__(self, wanted: Sequence[Wanted], limit: int) -> None:
        """`limit`: bytes of the cache; 0: what the disk has. Raises BadInput."""
        self._wanted, self.limit = list(wanted), limit
        self._cache = ShardCache(remote_urls.shard_cache_home(), limit)
        self._store: ObjectStore | None = None
        self._lost: dict[int, RemoteFileChanged | RemoteFileDamaged] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_store": None}

    def __len__(self) -> int:
        return len(self._wanted)

    def url(self, shard: int) -> str:
        """The URL of a shard."""
        return self._wanted[shard].url

    @property
    def is_local(self) -> bool:
        """Whether the shards are files of this machine, which are only unpacked."""
        return not is_url(self._wanted[0].url)

    def size(self, shard: int) -> int:
        """Bytes of a shard in the cache."""
        return self._wanted[shard].size

    def open_cached(self, shard: int) -> int | None:
        """A handle of a shard that is in the cache, which stays there until it is closed; None if it is not there."""
        return self._cache.open(self._wanted[shard])

    def open(self, shard: int, on_download: OnDownload = _uncounted) -> int:
        """The same, after fetching it if needed.

        Raises RemoteFileChanged or RemoteFileDamaged, and BadInput if it cannot be fetched.
        """
        handle = self.open_cached(shard)
        if handle is not None:
            return handle
        began, came = time.perf_counter(), 0

        def count(size: int) -> None:
            nonlocal came
            came += size

        handle = self.fetch_when_room(shard, count)
        on_download(time.perf_counter() - began, came)
        return handle

    def fetch_when_room(self, shard: int, on_bytes: Callable[[int], None]) -> int:
        """See `fetch`. Where the cache is full of shards in use, others are soon done with one."""
        until = time.monotonic() + _FULL_SECONDS
        while True:
            try:
                handle = self.fetch(shard, on_bytes)
                assert handle is not None
                return handle
            except CacheFull:
                if time.monotonic() > until:
                    raise
            on_bytes(0)
            time.sleep(_POLL_SECONDS)

    def fetch(self, shard: int, on_bytes: Callable[[int], None], *, wait: bool = True) -> int | None:
        """See `ShardCache.fetch`. Raises RemoteFileChanged, RemoteFileDamaged, BadInput, and what `on_bytes` raises."""
        if (lost := self._lost.get(shard)) is not None:
            raise lost
        if self._store is None:
            self._store = store_of(self.url(shard))
        try:
            return self._cache.fetch(self._store, self._wanted[shard], on_bytes, wait=wait)
        except (RemoteFileChanged, RemoteFileDamaged) as error:
            # Each of its images would ask again.
            self._lost[shard] = error
            raise
        except RemoteError as error:
            raise BadInput(str(error)) from None


def wanted_of(url: str, size: int, version: int, sha256: str = "", packing: Packing = NOT_PACKED) -> Wanted:
    """The shard as an index describes it."""
    return Wanted(url, RemoteStat(size, version, f"sha256:{sha256}" if sha256 else ""), packing)


def packing_of(facts: Mapping[str, Any]) -> Packing:
    """How a shard is compressed, by the facts of an index."""
    return Packing(facts.get("packed", ""), facts.get("unpacked", 0), facts.get("exact", True))
