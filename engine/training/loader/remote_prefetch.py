"""Fetches remote and compressed shards into the cache of the machine ahead of their use, and keeps those in use there.

The ranks of a machine want the same shards: each takes those that no other is downloading.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np

from gputrain.engine.common.errors import BadInput
from gputrain.engine.dataloading.shard_order import ShardOrder
from gputrain.engine.datasets.remote_shards.object_store import RemoteFileChanged, RemoteFileDamaged
from gputrain.engine.datasets.remote_shards.remote_shard_files import RemoteShardFiles
from gputrain.engine.datasets.shards.sharded_images import ShardedImages

_AT_ONCE = 6
"""Downloads at once: one connection to an object store does not fill a fast network."""
_WINDOW = 4
"""Shards of a window where no order has one."""
_CLOSE_SECONDS = 1.0
"""Most seconds that `close` waits for the downloads to end: a connection that stalls takes longer."""


class RemotePrefetch:
    """Holds the shards of the present window, those of the one before, whose batches may be on their way, and the next.

    Errors are left to the worker that needs the shard: it tries again and reports them.
    """

    def __init__(self, images: ShardedImages, order: ShardOrder | None, seed: int, *, shuffled: bool) -> None:
        """`order`: that of shuffle=shards. `shuffled` without it: any shard may be next."""
        assert images.remote is not None
        self._remote: RemoteShardFiles = images.remote
        self._starts, self._order, self._seed, self._shuffled = images.starts, order, seed, shuffled
        self._largest = max(map(self._remote.size, range(len(self._remote))))
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="download")
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._held: dict[int, int] = {}
        """Shard → handle, whose lock keeps the shard in the cache."""
        self._wanted: set[int] = set()
        self._queue: list[Future[None]] = []
        self._downloaded = 0
        self._epoch, self._window = -1, -1
        self._windows: list[list[int]] = []
        self._begins: list[int] = []

    def at(self, epoch: int, position: int) -> None:
        """The sample at `position` of an epoch's order is needed next."""
        if epoch != self._epoch:
            self._epoch, self._window = epoch, -1
            before = self._windows[-1:]
            self._windows = self._windows_of(epoch)
            sizes = self._starts[1:] - self._starts[:-1]
            self._begins = [0, *np.cumsum([sizes[window].sum() for window in self._windows[:-1]]).tolist()]
        else:
            before = self._windows[max(0, self._window) : self._window + 1]
        window = sum(begin <= position for begin in self._begins) - 1
        if window == self._window:
            return
        self._window = window
        wanted = self._windows[window] + (self._windows[window + 1] if window + 1 < len(self._windows) else [])
        if window + 1 == len(self._windows) and len(self._windows) > 1:
            wanted = wanted + self._windows_of(epoch + 1)[0]  # the next epoch begins with these
        self._want(wanted, {shard for past in before for shard in past})

    def take_downloaded(self) -> int:
        """Bytes that came since the last call."""
        with self._lock:
            downloaded, self._downloaded = self._downloaded, 0
            return downloaded

    def close(self) -> None:
        """End all downloads and let go of the shards; idempotent."""
        self._stopped.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        wait(self._queue, _CLOSE_SECONDS)
        with self._lock:
            self._release(self._held)

    def _windows_of(self, epoch: int) -> list[list[int]]:
        if self._order is not None:
            return [window.tolist() for window in self._order.windows(self._seed, epoch)]
        shards = list(range(len(self._remote)))
        step = len(shards) if self._shuffled else _WINDOW
        return [shards[start : start + step] for start in range(0, len(shards), step)]

    def _want(self, shards: Iterable[int], also_held: set[int]) -> None:
        """Hold `shards`, fetched in this order as far as the cache's limit allows; of the others only `also_held`."""
        running = [one for one in self._queue if not one.cancel() and not one.done()]
        with self._lock:
            self._release([shard for shard in self._held if shard not in {*shards, *also_held}])
            self._wanted = set()
            # Two more must fit: one that a worker fetches itself, and one that is still on its way.
            room = self._remote.limit - 2 * self._largest if self._remote.limit else float("inf")
            room -= sum(self._remote.size(shard) for shard in self._held if shard in also_held)
            chosen: list[int] = []
            for shard in dict.fromkeys(shards):
                room -= 0 if shard in also_held and shard in self._held else self._remote.size(shard)
                if room < 0:
                    break
                chosen.append(shard)
            self._wanted = {*chosen, *also_held}
            self._release([shard for shard in self._held if shard not in self._wanted])
        # What another rank downloads is waited for at the end.
        self._queue = running + [
            self._pool.submit(self._fetch, shard, until_done=until_done)
            for until_done in (False, True)
            for shard in chosen
        ]

    def _fetch(self, shard: int, *, until_done: bool) -> None:
        with self._lock:
            if shard in self._held or shard not in self._wanted:
                return
        try:
            handle = self._remote.fetch(shard, self._count, wait=until_done)
        except (BadInput, RemoteFileChanged, RemoteFileDamaged, InterruptedError):
            return
        if handle is None:
            return
        with self._lock:
            if self._stopped.is_set() or shard not in self._wanted or shard in self._held:
                os.close(handle)
            else:
                self._held[shard] = handle

    def _count(self, size: int) -> None:
        if self._stopped.is_set():
            raise InterruptedError("the loader is closed")
        with self._lock:
            self._downloaded += size

    def _release(self, shards: Iterable[int]) -> None:
        for shard in list(shards):
            os.close(self._held.pop(shard))
