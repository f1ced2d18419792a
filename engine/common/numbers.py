"""The numbers that files and the command line accept: what a person reads in one way.

Accepted: ``12``, ``+5``, ``1_000``, ``1e3``, ``.5``, ``5.``, ``1e-3``, ``0x1f``, ``0o17``, ``0b101``. Refused: what has
two readings (``010``, ``1:30``), and digits and signs other than those of ASCII. Pure.
"""

from __future__ import annotations

import re
import unicodedata

_DIGITS = r"[0-9](?:_?[0-9])*"
_WHOLE = r"(?:0|[1-9](?:_?[0-9])*)"
INTEGER = re.compile(rf"[-+]?(?:{_WHOLE}|0x[0-9a-fA-F](?:_?[0-9a-fA-F])*|0o[0-7](?:_?[0-7])*|0b[01](?:_?[01])*)")
FLOAT = re.compile(
    rf"[-+]?(?:{_WHOLE}\.(?:{_DIGITS})?(?:[eE][-+]?[0-9]+)?|\.{_DIGITS}(?:[eE][-+]?[0-9]+)?|{_WHOLE}[eE][-+]?[0-9]+)"
)
TWO_READINGS = re.compile(rf"[-+]?(?:0[0-9_]+(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|{_DIGITS}(?::[0-9_]+)+(?:\.[0-9_]*)?)")
"""Words that people and YAML 1.1 read as different numbers."""
_NOT_FINITE = re.compile(r"[-+]?\.?(?:inf|infinity|nan)", re.IGNORECASE)
_COMMA = re.compile(r"[-+]?[0-9]+(?:,[0-9]+)+")
_THOUSANDS = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+")
_MINUS_SIGNS = "\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d"
"""Characters that look like ``-``."""


def number(text: str) -> int | float | None:
    """The number that `text` is; None if it is none, or has two readings. NaN and infinity are numbers here.

    Raises ValueError for more digits than Python converts.
    """
    if INTEGER.fullmatch(text):
        return int(text, 0)
    if FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text) else None


def has_thousands_point(text: str) -> bool:
    """Whether `text` may be a whole number with points between its thousands: ``1.000`` is 1 or 1000."""
    return bool(_THOUSANDS.fullmatch(text))


def why_no_number(text: str) -> str:
    """A remedy for a text that should be a number, to be put behind it; empty if there is none."""
    if _COMMA.fullmatch(text):
        return "; write a decimal point, and no thousands separator"
    if has_thousands_point(text):
        return f": write {text.replace('.', '')}, without a thousands separator" + (
            f", or {text.partition('.')[0]}" if text.count(".") == 1 and text.endswith("000") else ""
        )
    in_ascii = _in_ascii(text)
    if in_ascii != text and (INTEGER.fullmatch(in_ascii) or FLOAT.fullmatch(in_ascii)):
        return f": write {in_ascii} in ASCII characters"
    if not TWO_READINGS.fullmatch(text):
        return ""
    if ":" in text:
        return ": a number has no colon (YAML 1.1 would read minutes and seconds)"
    sign = text[:1] if text[:1] in "+-" else ""
    rest = text.removeprefix(sign).lstrip("0_")
    decimal = sign + (rest if rest[:1].isdigit() else f"0{rest}")
    octal = f" (or {sign.strip('+')}0o{rest} for the octal number)" if re.fullmatch(r"[0-7]+", rest) else ""
    return f": write {decimal}{octal}"


def _in_ascii(text: str) -> str:
    """`text` with full-width and other digits, signs and points in ASCII."""
    folded = unicodedata.normalize("NFKC", text).translate(dict.fromkeys(map(ord, _MINUS_SIGNS), "-"))
    return "".join(str(unicodedata.decimal(character, character)) for character in folded)
