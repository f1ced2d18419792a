"""Downloads one file: continues behind what has come where a connection fails, and compares size and digest.

A compressed shard is unpacked as it comes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator

from gputrain.engine.datasets.remote_shards import retries
from gputrain.engine.datasets.remote_shards.object_store import ObjectStore, RemoteError, RemoteFileDamaged, RemoteStat
from gputrain.engine.datasets.remote_shards.unpacking import NOT_PACKED, PackedDamage, Packing, unpacked

OnBytes = Callable[[int], None]
"""Called with the bytes that came, piece by piece, and with 0 while nothing comes; may raise InterruptedError."""


def download(
    store: ObjectStore, url: str, stat: RemoteStat, handle: int, on_bytes: OnBytes, packing: Packing = NOT_PACKED
) -> None:
    """Write the file to `handle`, unpacked if it is compressed.

    Raises RemoteError, also for other content than the store's digest and for damaged compressed content, and OSError.
    """
    digest = stat.digest or retries.with_retries(lambda: store.stat(url, fresh=True)).digest
    kind, _, wanted = digest.partition(":")
    for attempt in (1, 2):
        sum_ = hashlib.new(kind or "md5", usedforsecurity=False)
        pieces, done, damage = _pieces(store, url, stat, sum_.update if wanted else None, on_bytes), 0, None
        try:
            for piece in unpacked(pieces, packing) if packing.codec else pieces:
                os.pwrite(handle, piece, done)
                done += len(piece)
            # Behind the end of the compressed content, too: the digest is that of the whole file.
            for _ in pieces:
                pass
            if packing.codec:
                os.ftruncate(handle, done)
        except PackedDamage as error:
            damage = error
        if damage is None and (not wanted or sum_.hexdigest() == wanted):
            return
        if damage is not None and (not wanted or attempt == 2):
            raise RemoteFileDamaged(url, str(damage))
        if attempt == 2:
            raise RemoteError(url, f"its content differs from its {kind}", passing=False)


def _pieces(
    store: ObjectStore, url: str, stat: RemoteStat, on_piece: Callable[[bytes], None] | None, on_bytes: OnBytes
) -> Iterator[bytes]:
    """The content of the file, each byte once."""
    done = attempt = 0
    while done < stat.size:
        before = done
        try:
            for piece in store.read(url, stat, done):
                if done + len(piece) > stat.size:
                    raise RemoteError(url, "more bytes came than it has", passing=True)
                if on_piece is not None:
                    on_piece(piece)
                done += len(piece)
                yield piece
                on_bytes(len(piece))
            if done < stat.size:
                raise RemoteError(url, f"the connection ended after {done:,} of {stat.size:,} bytes", passing=True)
        except RemoteError as error:
            attempt = 1 if done > before else attempt + 1
            retries.wait_before(attempt, error, lambda: on_bytes(0))
