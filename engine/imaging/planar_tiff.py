"""TIFFs of more than 8 bits with separate planes, which Pillow decodes as noise: decodes each plane as a grey TIFF."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

_COPIED = (256, 257, 259, 266, 278, 317, 322, 323, 339)
"""Tags of a plane that are the image's: size, compression, fill order, strips or tiles, predictor."""
_BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR = 258, 262, 277, 284
_STRIPS, _TILES = (273, 279), (324, 325)
"""Tags of the offsets and of the bytes of each."""
_BLACK_IS_ZERO, _RGB, _SEPARATE = 1, 2, 2
_LONG, _SHORT = 4, 3


def is_planar(image: Image.Image) -> bool:
    """Whether `image` is a TIFF with separate planes of more than 8 bits."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    tags = image.tag_v2
    return tags.get(_PLANAR) == _SEPARATE and tags.get(_SAMPLES, 1) > 1 and max(tags.get(_BITS, (1,))) > 8


def decode(image: TiffImagePlugin.TiffImageFile, data: bytes) -> npt.NDArray[np.uint8]:
    """The upper 8 bits of red, green and blue as stored, (height, width, 3). Raises ValueError for other planes."""
    tags = image.tag_v2
    if tags.get(_PHOTOMETRIC) != _RGB or set(tags[_BITS]) != {16}:
        raise ValueError("separate planes of more than 8 bits are read as 16-bit RGB only")
    planes = []
    for number in range(3):
        with Image.open(io.BytesIO(_as_grey(data, tags, number))) as plane:
            planes.append(np.asarray(plane).astype(np.uint16) >> 8)
    return np.stack(planes, axis=-1).astype(np.uint8)


def _as_grey(data: bytes, tags: Any, number: int) -> bytes:
    """The file with a new directory, in which the plane `number` is the whole image."""
    order = "<" if data[:2] == b"II" else ">"
    entries = {tag: _integers(tags[tag])[:1] for tag in _COPIED if tag in tags}
    entries |= {_BITS: (16,), _PHOTOMETRIC: (_BLACK_IS_ZERO,), _SAMPLES: (1,), _PLANAR: (1,)}
    for tag in _TILES if _TILES[0] in tags else _STRIPS:
        values = _integers(tags[tag])
        each = len(values) // tags[_SAMPLES]
        entries[tag] = values[number * each : (number + 1) * each]
    padding = b"\0" * (len(data) % 2)
    at = len(data) + len(padding)
    behind = at + 2 + 12 * len(entries) + 4
    rows, values_behind = [], b""
    for tag, values in sorted(entries.items()):
        kind, code = (_LONG, "I") if tag in (256, 257, 278, 322, 323, *_STRIPS, *_TILES) else (_SHORT, "H")
        content = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(content) > 4:
            place = struct.pack(f"{order}I", behind + len(values_behind))
            values_behind += content
        else:
            place = content.ljust(4, b"\0")
        rows.append(struct.pack(f"{order}HHI", tag, kind, len(values)) + place)
    directory = struct.pack(f"{order}H", len(rows)) + b"".join(rows) + struct.pack(f"{order}I", 0)
    return data[:4] + struct.pack(f"{order}I", at) + data[8:] + padding + directory + values_behind


def _integers(value: Any) -> tuple[int, ...]:
    return tuple(int(one) for one in value) if isinstance(value, tuple | list) else (int(value),)
