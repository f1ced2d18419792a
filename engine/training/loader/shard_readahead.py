"""Asks the kernel to read whole shards ahead with shuffle=shards: in one go instead of image by image."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import psutil

from gputrain.engine.dataloading.batch_sampler import Indices
from gputrain.engine.dataloading.shard_order import ShardOrder
from gputrain.engine.datasets.shards.sharded_images import ShardedImages

_MEMORY_SHARE = 0.25
"""Share of the available memory for a window: it is used while the next one is read."""


class ShardReadahead:
    """Reads each window of shards into the page cache while the one before is used."""

    def __init__(self, images: ShardedImages, order: ShardOrder, seed: int) -> None:
        self._images, self._order, self._seed = images, order, seed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="readahead")
        self._epoch = -1
        self._windows: list[Indices] = []
        self._begins: list[int] = []
        """For each window, the place of its first sample in the epoch's order."""
        self._asked = 0
        """Windows of the epoch that were asked for."""

    def at(self, epoch: int, position: int) -> None:
        """The sample at `position` of an epoch's order is needed next: ask for its window and the following one."""
        if epoch != self._epoch:
            self._epoch, self._asked = epoch, 0
            self._windows = self._order.windows(self._seed, epoch)
            sizes = self._order.starts[1:] - self._order.starts[:-1]
            self._begins = [0]
            for window in self._windows[:-1]:
                self._begins.append(self._begins[-1] + int(sizes[window].sum()))
        begun = sum(begin <= position for begin in self._begins)
        first, self._asked = max(self._asked, begun - 1), max(self._asked, min(begun + 1, len(self._windows)))
        for number in range(first, self._asked):
            self._thread.submit(self._read, self._windows[number].tolist())

    def _read(self, shards: list[int]) -> None:
        if sum(self._images.shards[shard]["size"] for shard in shards) > (
            _MEMORY_SHARE * psutil.virtual_memory().available
        ):
            return  # they would push each other out of the page cache
        for shard in shards:
            try:
                handle = os.open(self._images.shard_path(shard), os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue  # its images are reported when they are read
            try:
                # Returns when the reads are queued.
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(handle)

    def close(self) -> None:
        """Drop what is not asked for yet; idempotent."""
        self._thread.shutdown(cancel_futures=True)
