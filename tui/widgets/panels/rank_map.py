"""The heat map of ranks over time: a row for each group of ranks, a column for every two seconds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from gputrain.engine.common.medians import median
from gputrain.tui.render.styled_lines import Line, line
from gputrain.tui.render.theme import Role
from gputrain.tui.state.rank_history import RankColumn, RankTimes

Measure = Literal["own", "step", "wait", "exchange"]
MEASURES: dict[Measure, str] = {
    "own": "own time",
    "step": "step time",
    "wait": "data wait",
    "exchange": "exchange",
}
"""What the map shows. The own time is that of a step without the exchange, in which a rank waits for slower ones."""
_SIGNS = "·▒▄█"
_ROLES: tuple[Role, ...] = ("dim", "data", "warn", "bad")
_TIMES = (1.05, 1.15, 1.35)
"""Limits of the signs for times: over the median of all ranks."""
_SHARES = (0.05, 0.15, 0.35)
"""The same for shares of the step."""
LEGENDS = {
    "times": tuple(zip(_SIGNS, ("usual", "> 1.05 ×", "> 1.15 ×", "> 1.35 ×"), _ROLES, strict=True)),
    "shares": tuple(zip(_SIGNS, ("< 5 %", "≥ 5 %", "≥ 15 %", "≥ 35 %"), _ROLES, strict=True)),
}


class Group(Struct, frozen=True):
    """Ranks that share a row: the slowest of them is shown."""

    first: int
    last: int

    @property
    def label(self) -> str:
        """The numbers of the ranks."""
        return str(self.first) if self.first == self.last else f"{self.first}–{self.last}"


def fold(count: int, rows: int, per_node: int = 0) -> list[Group]:
    """The ranks in at most `rows` groups of the same size.

    `per_node`: ranks of each machine, if all have as many; a group is then a part of a machine, or several of them.
    """
    if rows < 1 or count < 1:
        return []
    each = -(-count // rows)
    if 1 < each < per_node:
        each = next(size for size in range(each, per_node + 1) if per_node % size == 0)
    elif per_node > 1 and each > per_node:
        each = -(-each // per_node) * per_node
    return [Group(first, min(first + each, count) - 1) for first in range(0, count, each)]


def value_of(measure: Measure, times: RankTimes) -> float | None:
    """The figure of a rank: seconds of a step, or for `wait` and `exchange` their share of it; None without steps."""
    if times.steps <= 0 or times.seconds <= 0:
        return None
    if measure in ("own", "step"):
        return (times.own if measure == "own" else times.seconds) / times.steps
    return (times.data_wait if measure == "wait" else times.exchange) / times.seconds


def usual_of(measure: Measure, recent: Iterable[RankTimes]) -> float:
    """The median over the ranks' newest times, to which times are compared; in shares it is not used."""
    if measure not in ("own", "step"):
        return 0.0
    values = [value_of(measure, times) for times in recent]
    known = [value for value in values if value]
    # Two digits: the columns that are drawn stay valid while it hardly changes.
    return float(f"{median(known):.2g}") if known else 0.0


def sign(measure: Measure, value: float | None, usual: float) -> str:
    """The sign of a value; a blank without one."""
    if value is None:
        return " "
    times = measure in ("own", "step")
    compared = value / usual if times and usual > 0 else value
    return _SIGNS[sum(compared > limit for limit in (_TIMES if times else _SHARES))]


def cells(column: RankColumn, measure: Measure, usual: float, groups: Sequence[Group]) -> tuple[str, ...]:
    """One sign for each group: of its slowest rank. Kept in the column, which does not change any more."""
    last = groups[-1].last if groups else -1
    key = (measure, usual, len(groups), last)
    drawn = column.folded.get(key)
    if drawn is None:
        each = groups[0].last - groups[0].first + 1 if groups else 1
        most: dict[int, float] = {}
        for rank, times in column.times.items():
            value = value_of(measure, times)
            if value is not None and value > most.get(rank // each, -1.0):
                most[rank // each] = value
        drawn = tuple(sign(measure, most.get(number), usual) for number in range(len(groups)))
        if len(column.folded) > 8:
            # Another size of the window, or another measure.
            column.folded.clear()
        column.folded[key] = drawn
    return drawn


def map_lines(
    columns: Sequence[RankColumn], measure: Measure, usual: float, groups: Sequence[Group], width: int
) -> list[Line]:
    """A line of `width` cells for each group, the newest column last. `usual`: as of `usual_of`."""
    shown = columns[-width:] if width > 0 else ()
    drawn = [cells(column, measure, usual, groups) for column in shown]
    roles = dict(zip(_SIGNS, _ROLES, strict=True))
    lines = []
    for row in range(len(groups)):
        text = "".join(one[row] for one in drawn).ljust(width)
        lines.append(line(*((part, roles.get(part[0], "dim")) for part in _runs(text))))
    return lines


def _runs(text: str) -> list[str]:
    """`text` in parts of one character each."""
    parts: list[str] = []
    for character in text:
        if parts and parts[-1][0] == character:
            parts[-1] += character
        else:
            parts.append(character)
    return parts
