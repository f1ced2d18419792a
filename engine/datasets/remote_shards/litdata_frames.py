"""LitData's chunks that are compressed inside: each sample for itself, or some hundred samples together.

Both become chunks without compression: the number of samples n, n + 1 offsets, the samples. Compressed in batches, a
file has this layout, all numbers little endian: LDFZ01 and two zero bytes; version and flags (16 bits each), n, samples
of a frame, number of frames; n + 1 offsets of the samples among all samples; for each frame its first sample and number
of samples, its offset in the file (64 bits), and its bytes compressed and unpacked.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import Any

_MAGIC, _VERSION = b"LDFZ01\0\0", 1
_PREFIX, _FRAME = struct.Struct("<8sHHIII"), struct.Struct("<IIQII")
_WORD = 4
_LARGEST = 1 << 32


def batches(content: bytes) -> Iterator[bytes]:
    """The chunk without compression, in pieces. Raises ValueError for damaged content."""
    try:
        magic, version, _, count, _, frames = _PREFIX.unpack_from(content)
        offsets = struct.unpack_from(f"<{count + 1}I", content, _PREFIX.size)
        table = _PREFIX.size + _WORD * (count + 1)
        rows = [_FRAME.unpack_from(content, table + number * _FRAME.size) for number in range(frames)]
    except struct.error:
        raise ValueError("it is cut off in its head") from None
    if magic != _MAGIC or version != _VERSION:
        raise ValueError("it has another version of frames" if magic == _MAGIC else "it has no frames")
    if sum(row[4] for row in rows) != offsets[-1]:
        raise ValueError("its frames do not fit its samples")
    yield _head(offsets, count)
    for _, _, begin, length, size in rows:
        yield _unpacked(content[begin : begin + length], size)


def samples(content: bytes) -> Iterator[bytes]:
    """The same for samples that are compressed one by one."""
    try:
        (count,) = struct.unpack_from("<I", content)
        places = struct.unpack_from(f"<{count + 1}I", content, _WORD)
    except struct.error:
        raise ValueError("it is cut off in its head") from None
    found = [_unpacked(content[begin:end]) for begin, end in itertools.pairwise(places)]
    yield _head(list(itertools.accumulate(map(len, found), initial=0)), count)
    yield from found


def _head(offsets: Any, count: int) -> bytes:
    """The begin of a chunk whose samples have these offsets among each other."""
    begin = _WORD * (count + 2)
    if begin + offsets[-1] >= _LARGEST:
        raise ValueError("it has more than 4 GiB unpacked")
    return struct.pack(f"<{count + 2}I", count, *(begin + offset for offset in offsets))


def _unpacked(frame: bytes, size: int | None = None) -> bytes:
    import pyarrow as pa

    try:
        with pa.CompressedInputStream(pa.BufferReader(frame), "zstd") as stream:
            content: bytes = stream.read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from None
    if size is not None and len(content) != size:
        raise ValueError("a frame has another size than it says")
    return content
