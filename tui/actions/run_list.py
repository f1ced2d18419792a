"""The list of runs: filter, order and table cells, for the command and the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import per_second
from gputrain.engine.runs.run_directory import RunInfo, State, Status
from gputrain.engine.runs.run_labels import RunMarks
from gputrain.tui.render.format import duration, higher_is_better, rate


@dataclass(frozen=True, slots=True)
class Row:
    """A run with its name, tags and note."""

    info: RunInfo
    marks: RunMarks

    @property
    def name(self) -> str:
        """Its name; empty if it has none."""
        return self.marks.name or (plain(self.info.status.name, 80) if self.info.status else "")

    @property
    def words(self) -> str:
        """All text that a search looks at, in lower case."""
        status = self.info.status
        recipe = f"{status.recipe} {status.profile}" if status else ""
        return f"{self.info.run.id} {self.name} {' '.join(self.marks.tags)} {self.marks.note} {recipe}".lower()


def wanted(rows: list[Row], words: str = "", state: str = "", tags: Iterable[str] = ()) -> list[Row]:
    """The rows that contain all `words`, are in `state` and have all `tags`; empty arguments do not filter."""
    for tag in tags:
        rows = [row for row in rows if tag in row.marks.tags]
    if state:
        rows = [row for row in rows if row.info.status is not None and row.info.status.state == state]
    return [row for row in rows if all(word in row.words for word in words.lower().split())]


def _best_key(status: Status) -> tuple[bool, str, float]:
    """Sort key: best first within each metric, since different metrics cannot be compared."""
    if status.best is None:
        return True, "", 0.0
    return False, status.metric, -status.best if higher_is_better(status.metric) else status.best


_Key = Callable[[Status], float | str | tuple[bool, str, float]]
_KEYS: dict[str, _Key] = {
    "state": lambda status: status.state.value,
    "recipe": lambda status: status.recipe,
    "steps": lambda status: -status.step,
    "speed": lambda status: -(status.images_per_second or 0.0),
    "best": _best_key,
    "took": lambda status: -(_ended(status) - status.started),
}


ORDERS = ("newest", "name", *_KEYS)
"""Keys by which a list can be sorted."""


def ordered(rows: list[Row], key: str) -> list[Row]:
    """`rows` (given newest first) sorted by one of `ORDERS`; rows without a status come last."""
    if key == "newest":
        return rows
    if key == "name":
        return sorted(rows, key=lambda row: (not row.name, row.name.lower()))
    known = [row for row in rows if row.info.status is not None]
    return sorted(known, key=lambda row: _KEYS[key](_status(row))) + [r for r in rows if r.info.status is None]


def _status(row: Row) -> Status:
    assert row.info.status is not None
    return row.info.status


HEADER = ("run", "name", "state", "epoch", "step", "speed", "best", "took", "tags", "note or reason")


def _ended(status: Status) -> float:
    return status.ended or (status.heartbeat if status.state.over else time.time())


def about(row: Row) -> str:
    """All details of a run in one text."""
    status = row.info.status
    found = [
        plain(row.info.run.id, 120),
        f"'{row.name}'" if row.name and row.name not in row.info.run.id else "",
        row.marks.note,
        plain(status.reason, 300) if status else "",
        f"tags {' '.join(row.marks.tags)}" if row.marks.tags else "",
        plain(status.recipe, 60) if status else "",
        *(f"{title} {cell}" for title, cell in zip(HEADER[3:8], cells(row)[3:8], strict=True) if cell),
    ]
    return " · ".join(filter(None, found))


def cells(row: Row) -> tuple[str, ...]:
    """The cells of a run, one for each column of `HEADER`."""
    status, tags = row.info.status, " ".join(row.marks.tags)
    run_id, name = plain(row.info.run.id, 60), "" if row.name in row.info.run.id else row.name
    if status is None:
        return (run_id, name, "unknown", "", "", "", "", "", tags, row.marks.note or "its status cannot be read")
    return (
        run_id,
        name,
        status.state.value,
        _epoch(status),
        f"{status.step}/{status.total_steps}" if status.total_steps else str(status.step),
        f"{rate(status.images_per_second)} {per_second(status.unit)}" if status.images_per_second else "",
        plain(f"{status.metric} {status.best:.4g}", 30) if status.best is not None else "",
        duration(_ended(status) - status.started),
        tags,
        row.marks.note or (plain(status.reason, 120) if status.state is not State.FINISHED else ""),
    )


def _epoch(status: Status) -> str:
    """``3/50``; of a script, which may have any number of epochs, ``3``; empty where it is unknown."""
    if status.epochs:
        return f"{min(status.epoch + 1, status.epochs)}/{status.epochs}"
    return str(status.epoch + 1) if status.step and status.epoch >= 0 else ""
