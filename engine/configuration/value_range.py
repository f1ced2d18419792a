"""The setting `value_range`: which pixel values of deep grey images are black and white. Pure."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from gputrain.engine.common.numbers import number, why_no_number
from gputrain.engine.common.sanitize import plain

AUTO, BITS = "auto", "bits"
FORM = "auto, bits, or two numbers [low, high] with low < high"


class ValueRange(NamedTuple):
    """The values that become 0 and 255; values outside are clipped."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{_number(self.low)}, {_number(self.high)}]"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def normalised(value: Any) -> str:
    """The setting as text: ``auto``, ``bits`` or ``[low, high]``. Raises ValueError for anything else."""
    if isinstance(value, str) and value in (AUTO, BITS):
        return value
    if isinstance(value, str):
        inside = re.fullmatch(r"\[([^],]{1,60}),([^],]{1,60})\]", value.strip())
        if inside is None:
            raise ValueError(FORM)
        value = [part.strip() for part in inside.groups()]
    if isinstance(value, list):
        value = [_read(one) if isinstance(one, str) else one for one in value]
    if not isinstance(value, list) or len(value) != 2 or not all(type(one) in (int, float) for one in value):
        raise ValueError(FORM)
    try:
        low, high = float(value[0]), float(value[1])
    except OverflowError:
        raise ValueError(FORM) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(FORM)
    return str(ValueRange(low, high))


def _read(word: str) -> int | float:
    found = number(word)
    if found is None:
        raise ValueError(f"{FORM}; '{plain(word, 60)}' is no number{why_no_number(word)}")
    return found


def parse(text: str) -> ValueRange | None:
    """The range of a checked setting; None for ``auto`` and ``bits``."""
    if text in (AUTO, BITS):
        return None
    low, high = json.loads(text)
    return ValueRange(float(low), float(high))
