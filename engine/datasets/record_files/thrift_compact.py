"""Reads structs in Thrift's compact protocol, in which Parquet writes its headers. Texts and lists are skipped."""

from __future__ import annotations

from typing import Any


def varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at `position`, and the offset behind it. Raises IndexError where the data end."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _signed(data: bytes, position: int) -> tuple[int, int]:
    value, position = varint(data, position)
    return (value >> 1) ^ -(value & 1), position


def struct(data: bytes, position: int) -> tuple[dict[int, Any], int]:
    """The struct at `position`: its fields by number, and the offset behind it.

    Raises IndexError where the data end.
    """
    fields: dict[int, Any] = {}
    number = 0
    while True:
        head = data[position]
        position += 1
        if not head:
            return fields, position
        if head >> 4:
            number += head >> 4
        else:
            number, position = _signed(data, position)
        fields[number], position = _value(data, position, head & 15)


def _value(data: bytes, position: int, kind: int) -> tuple[Any, int]:
    if kind in (1, 2):
        return kind == 1, position
    if kind == 3:
        return data[position], position + 1
    if kind in (4, 5, 6):
        return _signed(data, position)
    if kind == 7:
        return None, position + 8
    if kind == 8:
        length, position = varint(data, position)
        if position + length > len(data):
            raise IndexError
        return None, position + length
    if kind in (9, 10):
        return _list(data, position)
    if kind == 12:
        return struct(data, position)
    raise ValueError("no page header")


def _list(data: bytes, position: int) -> tuple[None, int]:
    head = data[position]
    position += 1
    count = head >> 4
    if count == 15:
        count, position = varint(data, position)
    for _ in range(count):
        if head & 15 in (1, 2):
            position += 1
        else:
            _, position = _value(data, position, head & 15)
    return None, position
