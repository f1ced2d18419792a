"""ListedShard: a shard as an ``index.json`` describes it; and the choice of its fields with the image and the class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.record_files.found_images import LABEL_NAMES

INDEX = "index.json"
_AUTO = "auto"
_IMAGES = ("jpeg", "png", "image", "tifffile", "file")
"""Encodings of image files."""
_BYTES = "bytes"
INTEGERS = {
    "int": (8, True),
    "int8": (1, True),
    "int16": (2, True),
    "int32": (4, True),
    "int64": (8, True),
    "uint8": (1, False),
    "uint16": (2, False),
    "uint32": (4, False),
    "uint64": (8, False),
}
"""Encodings of class numbers: bytes, and whether they have a sign."""
TEXT, TEXT_NUMBER = "str", "str_int"
_LABELS = (*INTEGERS, TEXT, TEXT_NUMBER)


class Field(NamedTuple):
    """A field of each sample."""

    name: str
    encoding: str
    """Without parameters: ``jpeg`` of ``jpeg:90``."""
    size: int = 0
    """Its bytes in every sample; 0: each sample says how many."""


class ListedShard(NamedTuple):
    """A shard that an index lists."""

    path: str
    """Absolute path or URL."""
    samples: int
    fields: tuple[Field, ...]
    codec: str = ""
    """Compression of the file, see `unpacking.CODECS`; empty for none."""
    unpacked: int = 0
    """Bytes of the file after decompression, if it is compressed."""
    exact: bool = True
    """Whether `unpacked` is no estimate."""


def inside(folder: str, name: str, place: str) -> str:
    """The file `name` of the folder of an index. Raises BadInput for a name that leads out of the folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise BadInput(f"{place} lists the file '{plain(name, 100)}', which is not in its folder")
    return f"{folder}/{name}"


def chosen_fields(place: str, fields: Sequence[Field], image_key: str, label_key: str) -> tuple[int, int]:
    """The places in `fields` of the image and of the class. Raises BadInput with `place` and the fields there are."""
    return _image(place, fields, image_key), _label(place, fields, label_key)


def _image(place: str, fields: Sequence[Field], wanted: str) -> int:
    files = [at for at, field in enumerate(fields) if field.encoding in _IMAGES]
    plains = [at for at, field in enumerate(fields) if field.encoding == _BYTES]
    if wanted == _AUTO:
        found = files or plains
        if len(found) == 1:
            return found[0]
        has = f"has {len(found)} fields of images" if found else "has no field of images (jpeg, png or bytes)"
        raise _fault(place, fields, has, "image_key")
    at = _named(place, fields, wanted, "image_key")
    if at not in (*files, *plains):
        what = f"has no image files in '{plain(wanted, 60)}', but {plain(fields[at].encoding, 60)}"
        raise _fault(place, fields, f"{what}; write them as jpeg, png or bytes", "image_key")
    return at


def _label(place: str, fields: Sequence[Field], wanted: str) -> int:
    possible = [at for at, field in enumerate(fields) if field.encoding in _LABELS]
    if wanted != _AUTO:
        at = _named(place, fields, wanted, "label_key")
        if at not in possible:
            what = f"has no classes in '{plain(wanted, 60)}', but {plain(fields[at].encoding, 60)}"
            raise _fault(place, fields, f"{what}; classes are integers or texts", "label_key")
        return at
    by_name = {fields[at].name: at for at in possible}
    named = next((by_name[name] for name in LABEL_NAMES if name in by_name), None)
    if named is not None:
        return named
    other = next((field for name in LABEL_NAMES for field in fields if field.name == name), None)
    if possible and other is not None:  # such as one of floats: the only integer is then no class, but a row's number
        what = f"has no classes in '{other.name}', but {plain(other.encoding, 60)}"
        raise _fault(place, fields, f"{what}; classes are integers or texts", "label_key")
    if len(possible) != 1:
        has = f"{len(possible)} fields that may be the class" if possible else "no field of the class (integer or text)"
        raise _fault(place, fields, f"has {has}", "label_key")
    return possible[0]


def _named(place: str, fields: Sequence[Field], wanted: str, setting: str) -> int:
    found = next((at for at, field in enumerate(fields) if field.name == wanted), None)
    if found is None:
        raise _fault(place, fields, f"has no field '{plain(wanted, 60)}'", setting)
    return found


def _fault(place: str, fields: Sequence[Field], what: str, setting: str) -> BadInput:
    has = ", ".join(f"{plain(field.name, 40)} ({plain(field.encoding, 40)})" for field in fields[:12])
    return BadInput(f"{place} {what}; it has {has}; {setting} names the field: {setting}=NAME")
