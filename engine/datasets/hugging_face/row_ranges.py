"""Parts of a split as `datasets` writes them: ``train[:90%]``, ``train[1000:]``, ``train[-10%:]``."""

from __future__ import annotations

import re

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain

_SPLIT = re.compile(r"(?P<name>[^\[\]]+)\[(?P<rows>[^\[\]]*)\]")
_ROWS = re.compile(r"(?:(-?\d{1,12})(%?))?:(?:(-?\d{1,12})(%?))?")


def split_and_rows(text: str, setting: str) -> tuple[str, str]:
    """The name of a split and the text of its part, empty for all of it. Raises BadInput."""
    found = _SPLIT.fullmatch(text)
    if found is None:
        return text, ""
    if _ROWS.fullmatch(found["rows"]) is None:
        raise BadInput(f"{setting}: '{plain(text, 60)}': expected a part such as train[:90%] or train[1000:]")
    return found["name"], found["rows"]


def bounds(rows: str, count: int) -> tuple[int, int]:
    """First row, and the row behind the last one, of `rows` (empty: all) in a split of `count` rows.

    Percentages are rounded as `datasets` rounds them by default, and bounds clipped as in Python. Raises BadInput if
    there are none of these rows.
    """
    found = _ROWS.fullmatch(rows or ":")
    if found is None:
        raise BadInput(f"'{plain(rows, 60)}' is no part of a split; expected [:90%] or [1000:]")
    share = bool(found[2] or found[4])
    first, last = (_place(text, count, share=share) for text in (found[1] or "0", found[3]))
    first, last, _ = slice(first, last).indices(count)
    if first >= last:
        raise BadInput(f"[{rows}] has none of the {count:,} rows of the split")
    return first, last


def _place(text: str | None, count: int, *, share: bool) -> int:
    if text is None:
        return count
    return round(int(text) * count / 100.0) if share else int(text)
