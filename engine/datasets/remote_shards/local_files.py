"""Files of this machine as a store: compressed shards are unpacked into the cache, as remote ones come there."""

from __future__ import annotations

import os
from collections.abc import Iterator

from gputrain.engine.datasets.remote_shards.object_store import (
    RemoteError,
    RemoteFileChanged,
    RemoteFileMissing,
    RemoteStat,
)

_PIECE = 1 << 20


class LocalFiles:
    """See `ObjectStore`. The version of a file is its modification time in ns."""

    def stat(self, url: str, *, fresh: bool = False) -> RemoteStat:
        """See `ObjectStore`."""
        try:
            found = os.stat(url)  # noqa: PTH116
        except FileNotFoundError:
            raise RemoteFileMissing(url) from None
        except OSError as error:
            raise RemoteError(url, error.strerror or str(error), passing=False) from None
        return RemoteStat(found.st_size, found.st_mtime_ns)

    def names(self, folder: str) -> list[str] | None:
        """See `ObjectStore`."""
        try:
            with os.scandir(folder) as entries:
                return [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]
        except OSError as error:
            raise RemoteError(folder, error.strerror or str(error), passing=False) from None

    def read(self, url: str, stat: RemoteStat, start: int) -> Iterator[bytes]:
        """See `ObjectStore`."""
        self._compare(url, stat)
        try:
            with open(url, "rb", buffering=0) as file:  # noqa: PTH123
                file.seek(start)
                while piece := file.read(_PIECE):
                    yield piece
        except OSError as error:
            raise RemoteError(url, error.strerror or str(error), passing=False) from None
        # One that was overwritten meanwhile is noticed, too.
        self._compare(url, stat)

    def _compare(self, url: str, stat: RemoteStat) -> None:
        found = self.stat(url)
        if (found.size, found.version) != (stat.size, stat.version):
            raise RemoteFileChanged(url)
