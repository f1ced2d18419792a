"""Decompresses a file piece by piece: gzip and bzip2 by the standard library, zstd, brotli and snappy by pyarrow."""

from __future__ import annotations

import bz2
import io
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.remote_shards import litdata_frames

_PIECE = 1 << 20
_GZIP = 31
"""zlib's value of wbits for gzip's header and sum."""
_STREAMED = {"zstd": "zstd", "br": "brotli"}
_WHOLE = "snappy"
_FRAMES = {"zstd-batch": litdata_frames.batches, "zstd-sample": litdata_frames.samples}
"""Compression inside of LitData's chunks."""
CODECS = ("gz", "bz2", *_STREAMED, _WHOLE, *_FRAMES)
_MOST_TIMES = 256
"""How many times larger than the estimate a file may become."""


class Packing(NamedTuple):
    """How a file is compressed."""

    codec: str = ""
    """One of `CODECS`; empty for none."""
    size: int = 0
    """Its bytes unpacked."""
    exact: bool = True
    """Whether `size` is no estimate."""


NOT_PACKED = Packing()


class PackedDamage(Exception):  # noqa: N818 - reads as what it is
    """The compressed bytes are damaged or end too early."""


def check_codec(codec: str, place: str) -> None:
    """Raises BadInput with `place` for a compression that is unknown, or whose package is not installed."""
    if codec not in CODECS:
        raise BadInput(f"{place} is compressed with '{plain(codec, 40)}'; {', '.join(CODECS)} are read")
    if codec not in ("gz", "bz2"):
        try:
            import pyarrow as pa  # noqa: F401
        except ImportError as error:
            raise BadInput(
                f"{place} is compressed with {codec}, which needs pyarrow ({plain(str(error), 100)}): "
                "pip install 'gputrain-tui[parquet]'"
            ) from None


def unpacked(pieces: Iterable[bytes], packing: Packing) -> Iterator[bytes]:
    """The content of the compressed `pieces`. Raises PackedDamage, also for another size than `packing` says."""
    done, most = 0, packing.size * (1 if packing.exact else _MOST_TIMES)
    try:
        for piece in _content(pieces, packing.codec, packing.size):
            done += len(piece)
            if done > most:
                break
            yield piece
    except (zlib.error, ValueError, EOFError) as error:
        raise PackedDamage(plain(str(error), 150)) from None
    if done > most or (packing.exact and done != most):
        more = "more" if done > most else f"{done:,}"
        raise PackedDamage(f"it has {more} bytes unpacked, its index says {packing.size:,}")


def _content(pieces: Iterable[bytes], codec: str, size: int) -> Iterator[bytes]:
    if codec in _STREAMED:
        return _streamed(pieces, _STREAMED[codec])
    if codec == _WHOLE:
        return _at_once(pieces, size)
    if codec in _FRAMES:
        return _FRAMES[codec](b"".join(pieces))
    return _stepwise(pieces, codec)


def _stepwise(pieces: Iterable[bytes], codec: str) -> Iterator[bytes]:
    """gzip and bzip2. Both give up to `_PIECE` bytes at a time: a few compressed bytes may become very many."""
    step: Any = zlib.decompressobj(_GZIP) if codec == "gz" else bz2.BZ2Decompressor()
    for piece in pieces:
        rest = piece
        while True:
            if step.eof:
                return
            try:
                content = step.decompress(rest, _PIECE)
            except OSError as error:  # bzip2's own, which the store's must not look like
                raise ValueError(str(error)) from None
            if content:
                yield content
            rest = step.unconsumed_tail if codec == "gz" else b""
            if not rest and (codec == "gz" or step.eof or step.needs_input):
                break
    if not step.eof:
        raise EOFError("it is cut off")


def _streamed(pieces: Iterable[bytes], codec: str) -> Iterator[bytes]:
    import pyarrow as pa

    try:
        with pa.CompressedInputStream(pa.PythonFile(_Pieces(pieces), mode="r"), codec) as stream:
            while content := stream.read(_PIECE):
                yield content
    except InterruptedError:
        raise  # by who waits for the pieces
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from None


def _at_once(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    import pyarrow as pa

    try:
        yield pa.decompress(b"".join(pieces), size, _WHOLE, asbytes=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from None


class _Pieces(io.RawIOBase):
    """Pieces as a file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces, self._rest = iter(pieces), b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            try:
                self._rest = next(self._pieces)
            except StopIteration:
                return b""
        size = len(self._rest) if size < 0 else size
        found, self._rest = self._rest[:size], self._rest[size:]
        return found
