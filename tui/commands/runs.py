"""``gputrain-tui runs``: the runs of this user as a table, or as JSON lines."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from gputrain.engine import runs
from gputrain.engine.errors import EXIT_FAILED, EXIT_FINISHED, BadInput, did_you_mean
from gputrain.engine.marks import Marks, read_marks
from gputrain.engine.remote.listing import list_runs
from gputrain.engine.remote.name import parse
from gputrain.engine.runs import RunInfo, State, Status
from gputrain.engine.text import plain
from gputrain.tui.commands.table import print_table
from gputrain.tui.format import duration


def run(options: argparse.Namespace) -> int:
    """Print the runs; returns 1 if another machine's cannot be had."""
    try:
        found = _on_host(options.host) if options.host else runs.list_runs()
    except OSError as error:
        print(f"gputrain-tui: {plain(str(error), 500)}", file=sys.stderr)
        return EXIT_FAILED
    rows = _sorted(_wanted([Row(info, read_marks(info.run)) for info in found], options), options.sort)
    rows = rows[: options.lines]
    if options.json:
        for row in rows:
            print(msgspec.json.encode(_as_json(row)).decode())
        return EXIT_FINISHED
    if not rows:
        print("no such runs" if found else "no runs yet; start one with: gputrain-tui train --recipe demo")
        return EXIT_FINISHED
    print_table(HEADER, [_cells(row) for row in rows])
    return EXIT_FINISHED


@dataclass(frozen=True, slots=True)
class Row:
    """A run in the list, with what a person noted about it."""

    info: RunInfo
    marks: Marks

    @property
    def name(self) -> str:
        """The name that a person gave it; empty if none."""
        return self.marks.name or (plain(self.info.status.name, 80) if self.info.status else "")

    @property
    def words(self) -> str:
        """All text by which it can be found."""
        status = self.info.status
        recipe = f"{status.recipe} {status.profile}" if status else ""
        return f"{self.info.run.id} {self.name} {' '.join(self.marks.tags)} {self.marks.note} {recipe}".lower()


def _wanted(rows: list[Row], options: argparse.Namespace) -> list[Row]:
    if options.state:
        if options.state not in list(State):
            raise BadInput(
                f"--state must be one of {', '.join(State)}, got '{options.state}'{did_you_mean(options.state, State)}"
            )
        rows = [row for row in rows if row.info.status is not None and row.info.status.state == options.state]
    for tag in options.tag:
        rows = [row for row in rows if tag in row.marks.tags]
    if options.find:
        rows = [row for row in rows if all(word in row.words for word in options.find.lower().split())]
    return rows


_Key = Callable[[Status], float | str]
_KEYS: dict[str, _Key] = {
    "state": lambda status: status.state.value,
    "recipe": lambda status: status.recipe,
    "steps": lambda status: -status.step,
    "speed": lambda status: -(status.images_per_second or 0.0),
    "best": lambda status: -(status.best or 0.0),
    "took": lambda status: -(_ended(status) - status.started),
}


def _sorted(rows: list[Row], key: str) -> list[Row]:
    """`rows`, the newest first, by `key`; those that have no status come last."""
    if key == "newest":
        return rows
    if key == "name":
        return sorted(rows, key=lambda row: (not row.name, row.name.lower()))
    if key not in _KEYS:
        known = ("newest", "name", *_KEYS)
        raise BadInput(f"--sort must be one of {', '.join(known)}, got '{plain(key, 40)}'{did_you_mean(key, known)}")
    known_rows = [row for row in rows if row.info.status is not None]
    return sorted(known_rows, key=lambda row: _KEYS[key](_status(row))) + [r for r in rows if r.info.status is None]


def _status(row: Row) -> Status:
    assert row.info.status is not None
    return row.info.status


def _as_json(row: Row) -> dict[str, Any]:
    status = msgspec.to_builtins(row.info.status) if row.info.status else {"state": "unknown"}
    place = {"run": row.info.run.id, "directory": str(row.info.run.directory)}
    return {**place, **status, "name": row.name, "tags": row.marks.tags, "note": row.marks.note}


def _on_host(text: str) -> list[RunInfo]:
    name = parse(text)
    if name is None or name.run:
        raise BadInput(f"'{plain(text, 80)}': the runs on another machine are those of HOST: (with the colon)")
    return list_runs(name)


HEADER = ("run", "name", "state", "epoch", "step", "img/s", "best", "took", "tags", "note or reason")


def _ended(status: Status) -> float:
    return status.ended or (status.heartbeat if status.state.over else time.time())


def _cells(row: Row) -> tuple[str, ...]:
    status, tags = row.info.status, " ".join(row.marks.tags)
    run_id, name = plain(row.info.run.id, 60), "" if row.name in row.info.run.id else row.name
    if status is None:
        return (run_id, name, "unknown", "", "", "", "", "", tags, row.marks.note or "its status cannot be read")
    return (
        run_id,
        name,
        status.state.value,
        f"{min(status.epoch + 1, status.epochs)}/{status.epochs}",
        f"{status.step}/{status.total_steps}" if status.total_steps else str(status.step),
        f"{status.images_per_second:.0f}" if status.images_per_second else "",
        plain(f"{status.metric} {status.best:.4g}", 30) if status.best is not None else "",
        duration(_ended(status) - status.started),
        tags,
        row.marks.note or (plain(status.reason, 120) if status.state is not State.FINISHED else ""),
    )
