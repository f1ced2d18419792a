"""Images that no installed library writes."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by hand: of 16-bit colour, or of an impossible size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_png(pixels: npt.NDArray[np.uint16]) -> bytes:
    """16 bits a channel, (height, width, channels): 3 for RGB, 4 with transparency."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png(width, height, 16, {3: 2, 4: 6}[channels], rows)
