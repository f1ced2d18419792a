"""Finds the features of a serialized tf.train.Example, without TensorFlow: their places instead of copies.

An Example is a message of the features, which are a map from names to lists of bytes, floats or integers (TensorFlow's
example.proto and feature.proto; wire format of Protocol Buffers).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3
KINDS = {_BYTES_LIST: "bytes", _FLOAT_LIST: "floats", _INT64_LIST: "integers"}


class Feature(NamedTuple):
    """A feature; its list lies from byte `begin` to `end`."""

    kind: str
    """A value of `KINDS`; empty if it has no list."""
    begin: int
    end: int


def features_of(data: bytes | memoryview, begin: int, end: int) -> dict[str, Feature]:
    """The features of the Example from byte `begin` to `end` by name. Raises ValueError if it is none."""
    found: dict[str, Feature] = {}
    for number, wire, first, last in _fields(data, begin, end):
        if number != 1 or wire != _LENGTH:
            continue
        for inner, kind, start, stop in _fields(data, first, last):
            if inner == 1 and kind == _LENGTH:
                name, feature = _entry(data, start, stop)
                found[name] = feature
    return found


def bytes_of(data: bytes | memoryview, feature: Feature) -> list[tuple[int, int]]:
    """Offset and length of each value of a list of bytes. Raises ValueError."""
    return [
        (begin, end - begin)
        for number, wire, begin, end in _fields(data, feature.begin, feature.end)
        if number == 1 and wire == _LENGTH
    ]


def integers_of(data: bytes | memoryview, feature: Feature) -> list[int]:
    """The values of a list of integers, packed or not. Raises ValueError."""
    found: list[int] = []
    for number, wire, begin, end in _fields(data, feature.begin, feature.end):
        if number != 1:
            continue
        position = begin
        while position < end:
            value, position = _varint(data, position, end)
            found.append(value - (1 << 64) if value >> 63 else value)
        if wire not in (_VARINT, _LENGTH):
            raise ValueError("no integers")
    return found


def _entry(data: bytes | memoryview, begin: int, end: int) -> tuple[str, Feature]:
    name, feature = "", Feature("", begin, begin)
    for number, wire, first, last in _fields(data, begin, end):
        if number == 1 and wire == _LENGTH:
            name = bytes(data[first:last]).decode("utf-8", "replace")
        elif number == 2 and wire == _LENGTH:
            for kind, inner, start, stop in _fields(data, first, last):
                if inner == _LENGTH and kind in KINDS:
                    feature = Feature(KINDS[kind], start, stop)
    return name, feature


def _fields(data: bytes | memoryview, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, and first and last byte of each field of a message. Raises ValueError."""
    position = begin
    while position < end:
        key, position = _varint(data, position, end)
        wire = key & 7
        if wire == _LENGTH:
            length, position = _varint(data, position, end)
        elif wire == _VARINT:
            _, after = _varint(data, position, end)
            length = after - position
        elif wire == _FIXED64:
            length = 8
        elif wire == _FIXED32:
            length = 4
        else:
            raise ValueError(f"wire type {wire}")
        if position + length > end:
            raise ValueError("a field goes beyond its message")
        yield key >> 3, wire, position, position + length
        position += length


def _varint(data: bytes | memoryview, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= end or shift > 63:
            raise ValueError("a number is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
