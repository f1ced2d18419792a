"""Scans a shard of MDS or a chunk of LitData: both begin with a table of the samples' offsets.

Layout, all numbers unsigned 32 bits, little endian: the number of samples n; n + 1 offsets from the begin of the file;
the samples. A sample is the sizes of its fields, as far as they are not the same in every sample, and then the fields.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable, Iterator, Sequence

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.record_files import litdata_rows
from gputrain.engine.datasets.record_files.file_window import FileWindow
from gputrain.engine.datasets.record_files.found_images import Damage, Found, FoundImage, class_of
from gputrain.engine.datasets.record_files.listed_shards import (
    INTEGERS,
    TEXT_NUMBER,
    Field,
    ListedShard,
    chosen_fields,
)

_WORD = 4
_LONGEST_LABEL = 1 << 12
_POLL_EVERY = 512


def scan_chunk(
    path: str, shown: str, listed: ListedShard, image_key: str, label_key: str, on_sample: Callable[[int], None]
) -> Iterator[Found]:
    """The images of a shard in `path`, as `listed` in its index. `on_sample` is called now and then with their number.

    Raises BadInput with `shown` for fields or labels that do not fit, and OSError.
    """
    chosen = chosen_fields(shown, listed.fields, image_key, label_key)
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        offsets = _offsets(handle, listed.samples)
        if isinstance(offsets, Damage):
            yield offsets
            return
        if listed.samples and offsets[0] == offsets[-1]:
            names = [listed.fields[at].name for at in chosen]
            yield from litdata_rows.scan_rows(path, shown, handle, listed.samples, *names)
            return
        size = os.fstat(handle).st_size
        whole = sum(end <= size for end in offsets[1:])
        samples = _Samples(FileWindow(handle), listed.fields, chosen, shown)
        for number in range(whole):
            if number % _POLL_EVERY == 0:
                on_sample(number)
            yield samples.read(number, offsets[number], offsets[number + 1])
        if whole < listed.samples:
            yield Damage(f"cut off: {listed.samples - whole:,} of {listed.samples:,} samples are missing")
    finally:
        os.close(handle)


def _offsets(handle: int, samples: int) -> Sequence[int] | Damage:
    """Where the samples begin, and where the last one ends."""
    head = os.pread(handle, _WORD, 0)
    if len(head) < _WORD:
        return Damage("the file is empty" if not head else "cut off in its first bytes")
    (count,) = struct.unpack("<I", head)
    if count != samples:
        return Damage(
            f"it says that it has {count:,} samples, and its index {samples:,}: one of them is another file's"
        )
    length = _WORD * (count + 1)
    table = os.pread(handle, length, _WORD)
    if len(table) < length:
        return Damage("cut off in the table of its samples")
    offsets: tuple[int, ...] = struct.unpack(f"<{count + 1}I", table)
    if offsets[0] < _WORD + length or any(end < begin for begin, end in itertools.pairwise(offsets)):
        return Damage("the table of its samples is damaged")
    return offsets


class _Samples:
    """Reads the head and the label of samples."""

    def __init__(self, window: FileWindow, fields: Sequence[Field], chosen: tuple[int, int], shown: str) -> None:
        self._window, self._fields, self._shown = window, fields, shown
        self._image, self._label = chosen
        self._sized = [at for at, field in enumerate(fields) if not field.size]
        self._head = struct.Struct(f"<{len(self._sized)}I")

    def read(self, number: int, begin: int, end: int) -> Found:
        """The image of the sample from byte `begin` to `end`."""
        sizes = [field.size for field in self._fields]
        if end - begin < self._head.size:
            return Damage(f"sample {number} is damaged")
        found = self._head.unpack(self._window.read(begin, self._head.size))
        for at, size in zip(self._sized, found, strict=True):
            sizes[at] = size
        first = begin + self._head.size
        if first + sum(sizes) != end:
            return Damage(f"sample {number} is damaged: its fields have {sum(sizes):,} bytes of {end - first:,}")
        label = self._window.read(first + sum(sizes[: self._label]), min(sizes[self._label], _LONGEST_LABEL))
        at = first + sum(sizes[: self._image])
        return FoundImage(at, sizes[self._image], self._class(number, label))

    def _class(self, number: int, data: bytes) -> int | str:
        place = f"{self._shown}: sample {number}"
        field = self._fields[self._label]
        value: int | str
        try:
            if field.encoding in INTEGERS:
                size, signed = INTEGERS[field.encoding]
                if len(data) != size:
                    raise ValueError
                value = int.from_bytes(data, "little", signed=signed)
            else:
                text = data.decode("utf-8")
                value = int(text) if field.encoding == TEXT_NUMBER else text
        except ValueError:
            name = plain(field.name, 60)
            raise BadInput(f"{place} has a damaged label in '{name}'; label_key names another field") from None
        return class_of(place, value)
