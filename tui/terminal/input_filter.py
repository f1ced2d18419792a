"""Filters terminal input: passes keys, pastes, mouse and size reports, and drops everything else.

Stray bytes reach a screen after a terminal multiplexer re-attaches, from late replies to terminal queries, and from
pastes that are not UTF-8. Textual raises an exception for some of them, and takes others for typed keys, which could
stop or delete a run.
"""

from __future__ import annotations

import codecs
import re

from textual._ansi_sequences import ANSI_SEQUENCES_KEYS

MAX_PASTE = 1 << 20
"""Most characters of one paste; the rest is dropped."""
KEY_SECONDS = 0.05
"""Time to wait for more after an Escape or Alt key. Textual adds its own delay."""
SEQUENCE_SECONDS = 0.5
"""Time to wait for the rest of a sequence, which a slow connection may split."""
PASTE_SECONDS = 2.0
"""Time to wait for the rest of a paste."""
_MAX_SEQUENCE = 64
"""Longest control sequence in bytes; no key or report is longer."""
_PASTE_START, _PASTE_END = b"\x1b[200~", b"\x1b[201~"
_STRINGS = b"]PX^_"
"""Bytes that start a control string after ESC: OSC, DCS, SOS, PM, APC."""
_C1 = {0x8F: b"\x1bO", 0x90: b"\x1bP", 0x98: b"\x1bX", 0x9B: b"\x1b[", 0x9D: b"\x1b]", 0x9E: b"\x1b^", 0x9F: b"\x1b_"}
"""C1 control characters with a meaning here, and their 7-bit forms."""
_TEXT = re.compile(rb"[\x00-\x1a\x1c-\x7f]+")
_CSI = re.compile(rb"\x1b\[[0-?]*[ -/]*")
_MOUSE = re.compile(r"\x1b\[<\d{1,3};-?\d{1,5};-?\d{1,5}[Mm]")
_MODE_REPORT = re.compile(r"\x1b\[\?\d{1,5};\d\$y")
_SIZE_REPORT = re.compile(r"\x1b\[48;(\d{1,4});(\d{1,4});(\d{1,5});(\d{1,5})t")
_KITTY_KEY = re.compile(r"\x1b\[(\d{0,7})(?:;(\d{0,3}))?(?:;(\d{1,7}(?::\d{1,7})*)?)?[u~ABCDEFHPQS]")
_FOCUS = ("\x1b[I", "\x1b[O")


class InputFilter:
    """Takes input in chunks of any size; sequences and characters may be split between chunks."""

    def __init__(self) -> None:
        self._pending = b""
        """The start of a sequence or character whose end is missing."""
        self._pasted: int | None = None
        """Characters of the current paste; None outside of a paste."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    @property
    def timeout(self) -> float | None:
        """Seconds to wait for the rest of incomplete input before `flush`; None if nothing is incomplete."""
        if self._pasted is not None:
            return PASTE_SECONDS
        if not self._pending:
            return None
        return KEY_SECONDS if len(self._pending) <= 2 else SEQUENCE_SECONDS

    def feed(self, data: bytes) -> str:
        """The accepted part of `data`, and of input that was incomplete before."""
        data, self._pending = self._pending + data, b""
        accepted: list[str] = []
        while data:
            text, used, data = self._paste(data) if self._pasted is not None else self._next(data)
            accepted.append(text)
            if not used:
                self._pending = data
                break
            data = data[used:]
        return "".join(accepted)

    def flush(self) -> str:
        """End what is incomplete, because no more input arrived: an Escape or Alt key, or a paste without end."""
        pending, self._pending = self._pending, b""
        if self._pasted is not None:
            self._pasted = None
            return _PASTE_END.decode()
        text = pending.decode("ascii", "ignore")
        return text if text in ANSI_SEQUENCES_KEYS or (len(pending) <= 2 and pending.isascii()) else ""

    def _paste(self, data: bytes) -> tuple[str, int, bytes]:
        """Accepted text, the number of bytes used, and `data`; 0 bytes used means that more input is needed."""
        end = data.find(_PASTE_END)
        # Without an end marker, the last bytes may be its beginning.
        used = end if end >= 0 else max((data.rfind(b"\x1b") if b"\x1b" in data[-5:] else len(data)), 0)
        text = self._decoder.decode(data[:used], final=end >= 0)
        assert self._pasted is not None
        text = "".join(c for c in text if c.isprintable() or c in "\t\r\n")[: max(0, MAX_PASTE - self._pasted)]
        self._pasted += len(text)
        if end >= 0:
            self._pasted = None
            return text + _PASTE_END.decode(), end + len(_PASTE_END), data
        return text, used, data

    def _next(self, data: bytes) -> tuple[str, int, bytes]:
        """The same outside of a paste; C1 characters at the start of `data` are replaced by their 7-bit forms."""
        first = data[0]
        if first >= 0x80:
            return _character(data)
        if first != 0x1B:
            found = _TEXT.match(data)
            assert found is not None
            return found[0].decode(), found.end(), data
        if len(data) == 1:
            return "", 0, data
        kind = data[1]
        if kind == ord("["):
            return self._control_sequence(data)
        if kind == ord("O"):
            if len(data) == 2:
                return "", 0, data
            sequence = data[:3].decode("ascii", "ignore")
            return (sequence if sequence in ANSI_SEQUENCES_KEYS else ""), (2 if data[2] == 0x1B else 3), data
        if kind in _STRINGS:
            used = _string_length(data)
            # Its end may be split, so the last byte stays.
            return "", used, data if used or len(data) < _MAX_SEQUENCE else data[:2] + data[-1:]
        # Alt with a key; ESC before another sequence or before a non-ASCII character stands alone.
        length = 2 if kind < 0x80 and kind != 0x1B else 1
        return data[:length].decode(), length, data

    def _control_sequence(self, data: bytes) -> tuple[str, int, bytes]:
        if data[:3] in (b"\x1b[M", b"\x1b[["):
            # An X10 mouse report has three more bytes, which need not be text. ESC [ [ is a key of the Linux console.
            length = 6 if data[2:3] == b"M" else 4
            sequence = data[:length].decode("ascii", "ignore")
            return (sequence if sequence in ANSI_SEQUENCES_KEYS else ""), length if len(data) >= length else 0, data
        found = _CSI.match(data)
        assert found is not None
        end = found.end()
        if end == len(data):
            # Too long for any key or report: a private marker keeps it from being taken for one.
            return "", 0, data if end < _MAX_SEQUENCE else b"\x1b[?"
        if not 0x40 <= data[end] <= 0x7E:
            # Broken off: drop the beginning, and go on with the byte that does not belong to it.
            return "", end, data
        sequence = data[: end + 1].decode()
        if sequence == _PASTE_START.decode():
            self._pasted = 0
            self._decoder.reset()
            return sequence, len(sequence), data
        return (sequence if _known(sequence) else ""), len(sequence), data


def _character(data: bytes) -> tuple[str, int, bytes]:
    """One non-ASCII character; an invalid byte is dropped."""
    length = 2 if 0xC2 <= data[0] < 0xE0 else 3 if 0xE0 <= data[0] < 0xF0 else 4 if 0xF0 <= data[0] < 0xF5 else 1
    try:
        text = data[:length].decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and len(data) < length:
            return "", 0, data
        if data[0] in _C1:
            return _rewritten(_C1[data[0]], data[1:])
        return "", 1, data
    if ord(text) < 0xA0:
        return _rewritten(_C1[ord(text)], data[2:]) if ord(text) in _C1 else ("", 2, data)
    return text, length, data


def _rewritten(start: bytes, rest: bytes) -> tuple[str, int, bytes]:
    """Parse a 7-bit form in place of a C1 character: nothing is accepted yet, and a placeholder byte is used."""
    return "", 1, b"\0" + start + rest


def _string_length(data: bytes) -> int:
    """Bytes of the control string at the start of `data`; 0 if its end is missing."""
    bell = data.find(b"\x07") if data[1:2] == b"]" else -1
    found = ((bell, 1), (data.find(b"\x1b\\", 2), 2), (data.find(b"\x9c", 2), 1))
    ends = [at + length for at, length in found if at >= 0]
    return min(ends) if ends else 0


def _known(sequence: str) -> bool:
    """Whether `sequence` is a key or a report that Textual reads without an error."""
    if sequence in ANSI_SEQUENCES_KEYS or sequence in _FOCUS:
        return True
    if _MOUSE.fullmatch(sequence) or _MODE_REPORT.fullmatch(sequence):
        return True
    if found := _SIZE_REPORT.fullmatch(sequence):
        return all(int(size) > 0 for size in found.groups())
    if found := _KITTY_KEY.fullmatch(sequence):
        code, _, text = found.groups()
        points = [int(code or "1"), *(int(part) for part in (text or "").split(":") if part)]
        return all(point < 0xD800 or 0xE000 <= point <= 0x10FFFF for point in points)
    return False
