"""How the stored numbers of a FITS image become its values: BZERO and BSCALE, which Pillow ignores."""

from __future__ import annotations

from typing import NamedTuple

_CARD, _KEYWORD = 80, 8
_COMMENT = b"/"


class FitsScale(NamedTuple):
    """A value is ``zero + factor * stored``. Stored integers of 16 and 32 bits have a sign."""

    zero: float = 0.0
    factor: float = 1.0

    @property
    def keeps_integers(self) -> bool:
        """Whether stored integers stay integers."""
        return self.zero.is_integer() and self.factor.is_integer()


def scale(data: bytes) -> FitsScale:
    """The scale of the first image of a FITS file; values that are missing or no numbers have no effect."""
    cards: dict[bytes, bytes] = {}
    for at in range(0, len(data), _CARD):
        keyword = data[at : at + _KEYWORD].strip()
        if keyword == b"END" and cards.get(b"NAXIS", b"0") != b"0":
            break
        # Data between two headers look like cards with keywords of their own.
        cards[keyword] = data[at + _KEYWORD : at + _CARD].partition(_COMMENT)[0].lstrip(b"= ").strip()
    zero, factor = _number(cards.get(b"BZERO"), 0.0), _number(cards.get(b"BSCALE"), 1.0)
    return FitsScale(zero, factor or 1.0)


def _number(text: bytes | None, default: float) -> float:
    """Fortran's exponents have a D, too."""
    try:
        return float((text or b"").upper().replace(b"D", b"E"))
    except ValueError:
        return default
