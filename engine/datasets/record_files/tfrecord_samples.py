"""Scans a TFRecord file of serialized tf.train.Example, and checks the sums of lengths and data.

A record is its length (8 bytes, little endian), the masked CRC-32C of the length, the data, and their masked CRC-32C.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.record_files import crc32c
from gputrain.engine.datasets.record_files.example_features import Feature, bytes_of, features_of, integers_of
from gputrain.engine.datasets.record_files.file_window import FileWindow
from gputrain.engine.datasets.record_files.found_images import Damage, Found, FoundImage, LeftOut, class_of

_AUTO = "auto"
_IMAGES = ("image/encoded", "image")
"""Features that `image_key: auto` looks for, in this order: of TensorFlow's own tools, and of TensorFlow Datasets."""
_LABELS = ("image/class/label", "image/class/text", "label")
_HEAD = struct.Struct("<QI")
_SUM = struct.Struct("<I")
_WINDOW = 8 << 20
_PACKED = (
    (b"\x1f\x8b", "GZIP"),
    (b"\x78\x01", "ZLIB"),
    (b"\x78\x5e", "ZLIB"),
    (b"\x78\x9c", "ZLIB"),
    (b"\x78\xda", "ZLIB"),
)
"""First bytes of files that TensorFlow's writer compressed."""
_POLL_EVERY = 64


def scan_tfrecord(
    path: str, shown: str, image_key: str, label_key: str, on_sample: Callable[[int], None]
) -> Iterator[Found]:
    """The images of a file in `path`. `on_sample` is called now and then with the number of records so far.

    Raises BadInput with `shown` for a compressed file, and for records without a usable image or label; OSError.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        window = FileWindow(handle, _WINDOW)
        _refuse_compressed(shown, window)
        samples = _Samples(shown, image_key, label_key)
        for number, found in enumerate(_records(window, os.fstat(handle).st_size)):
            if number % _POLL_EVERY == 0:
                on_sample(number)
            if isinstance(found, Damage):
                yield found
            else:
                offset, data = found
                yield samples.image(number, offset, data)
    finally:
        os.close(handle)


def _refuse_compressed(shown: str, window: FileWindow) -> None:
    start = window.read(0, _HEAD.size)
    packed = next((name for magic, name in _PACKED if start.startswith(magic)), None)
    if packed is None or (len(start) == _HEAD.size and _length(start) is not None):
        return
    raise BadInput(
        f"{shown} is compressed with {packed}, so that single images cannot be read; write it without compression "
        "(tf.io.TFRecordOptions(compression_type='')): JPEGs hardly become smaller"
    )


def _length(head: bytes) -> int | None:
    """The length of a record; None if its sum does not fit."""
    length, expected = _HEAD.unpack(head)
    return int(length) if crc32c.masked(head[:8]) == expected else None


def _records(window: FileWindow, size: int) -> Iterator[tuple[int, bytes] | Damage]:
    """Offset and data of each record, and what is damaged. Behind a damaged length nothing can be found."""
    position = 0
    if not size:
        yield Damage("the file is empty")
    while position < size:
        head = window.read(position, _HEAD.size)
        if len(head) < _HEAD.size:
            yield Damage(f"cut off in the head of a record (at byte {position:,})")
            return
        length = _length(head)
        if length is None:
            why = "no TFRecord file" if not position else "the length of a record is damaged, and what follows is lost"
            yield Damage(f"{why} (at byte {position:,})")
            return
        begin = position + _HEAD.size
        position = begin + length + _SUM.size
        if position > size:
            yield Damage(f"cut off: {position - size:,} bytes of a record are missing (at byte {begin:,})")
            return
        content = window.read(begin, length + _SUM.size)
        data = content[:length]
        if _SUM.unpack(content[length:]) != (crc32c.masked(data),):
            yield Damage(f"the data of a record are damaged: their CRC differs (at byte {begin:,})")
            continue
        yield begin, data


class _Samples:
    """Finds image and label in Examples."""

    def __init__(self, shown: str, image_key: str, label_key: str) -> None:
        self._shown, self._found = shown, False
        self._images = _IMAGES if image_key == _AUTO else (image_key,)
        self._labels = _LABELS if label_key == _AUTO else (label_key,)

    def image(self, number: int, offset: int, data: bytes) -> Found:
        """The image of a record whose data begin at `offset`."""
        place = f"{self._shown}: record {number}"
        try:
            features = features_of(data, 0, len(data))
            name = next((name for name in self._images if name in features), None)
            if name is None:
                if self._found:
                    return LeftOut("record without an image")
                raise self._fault(place, features, "image", self._images)
            images = bytes_of(data, features[name]) if features[name].kind == "bytes" else []
            if len(images) != 1:
                raise self._fault(place, features, "single image", (name,))
            label = self._class(place, data, features)
        except ValueError as error:
            raise BadInput(f"{place} is no tf.train.Example ({error}); TFRecord files of Examples are read") from None
        self._found = True
        begin, length = images[0]
        return FoundImage(offset + begin, length, label)

    def _class(self, place: str, data: bytes, features: dict[str, Feature]) -> int | str:
        name = next((name for name in self._labels if name in features), None)
        feature = features[name] if name is not None else None
        if feature is not None and feature.kind == "integers":
            numbers = integers_of(data, feature)
            if len(numbers) == 1:
                return class_of(place, numbers[0])
        elif feature is not None and feature.kind == "bytes":
            texts = bytes_of(data, feature)
            if len(texts) == 1:
                begin, length = texts[0]
                return class_of(place, data[begin : begin + length].decode("utf-8", "replace"))
        raise self._fault(place, features, "single class (an integer or a text)", self._labels)

    def _fault(self, place: str, features: dict[str, Feature], what: str, wanted: tuple[str, ...]) -> BadInput:
        has = ", ".join(
            f"{plain(name, 60)} ({feature.kind or 'empty'})" for name, feature in sorted(features.items())[:12]
        )
        setting = "image_key" if what.endswith("image") else "label_key"
        names = " or ".join(plain(name, 60) for name in wanted)
        return BadInput(
            f"{place} has no {what} in {names}; it has {has or 'no features'}; {setting} names the feature: "
            f"{setting}=NAME"
        )
