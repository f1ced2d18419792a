"""Downloads one file: continues behind what has come where a connection fails, and compares size and digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from gputrain.engine.datasets.remote_shards import retries
from gputrain.engine.datasets.remote_shards.object_store import ObjectStore, RemoteError, RemoteStat

OnBytes = Callable[[int], None]
"""Called with the bytes that came, piece by piece, and with 0 while nothing comes; may raise InterruptedError."""


def download(store: ObjectStore, url: str, stat: RemoteStat, handle: int, on_bytes: OnBytes) -> None:
    """Write the file to `handle`. Raises RemoteError, also for other content than the store's digest, and OSError."""
    digest = stat.digest or retries.with_retries(lambda: store.stat(url, fresh=True)).digest
    for attempt in (1, 2):
        if _content(store, url, stat, handle, digest, on_bytes):
            return
        if attempt == 2:
            raise RemoteError(url, f"its content differs from its {digest.partition(':')[0]}", passing=False)


def _content(store: ObjectStore, url: str, stat: RemoteStat, handle: int, digest: str, on_bytes: OnBytes) -> bool:
    """Whether the content that was written has the digest."""
    kind, _, wanted = digest.partition(":")
    sum_ = hashlib.new(kind or "md5", usedforsecurity=False)
    done = attempt = 0
    while done < stat.size:
        before = done
        try:
            for piece in store.read(url, stat, done):
                if done + len(piece) > stat.size:
                    raise RemoteError(url, "more bytes came than it has", passing=True)
                os.pwrite(handle, piece, done)
                if wanted:
                    sum_.update(piece)
                done += len(piece)
                on_bytes(len(piece))
            if done < stat.size:
                raise RemoteError(url, f"the connection ended after {done:,} of {stat.size:,} bytes", passing=True)
        except RemoteError as error:
            attempt = 1 if done > before else attempt + 1
            retries.wait_before(attempt, error, lambda: on_bytes(0))
    return not wanted or sum_.hexdigest() == wanted
