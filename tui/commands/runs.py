"""``gputrain-tui runs``: the runs of this user as a table, or as JSON lines."""

from __future__ import annotations

import argparse
import sys
import time

import msgspec

from gputrain.engine import runs
from gputrain.engine.errors import EXIT_FAILED, EXIT_FINISHED, BadInput, did_you_mean
from gputrain.engine.remote.listing import list_runs
from gputrain.engine.remote.name import parse
from gputrain.engine.runs import RunInfo, State
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
    if options.state:
        if options.state not in list(State):
            raise BadInput(
                f"--state must be one of {', '.join(State)}, got '{options.state}'{did_you_mean(options.state, State)}"
            )
        found = [info for info in found if info.status is not None and info.status.state == options.state]
    found = found[: options.lines]
    if options.json:
        for info in found:
            status = msgspec.to_builtins(info.status) if info.status else {"state": "unknown"}
            print(msgspec.json.encode({"run": info.run.id, "directory": str(info.run.directory), **status}).decode())
        return EXIT_FINISHED
    if not found:
        print("no runs yet; start one with: gputrain-tui train --recipe demo")
        return EXIT_FINISHED
    print_table(("run", "state", "epoch", "step", "img/s", "best", "took", "why"), [_row(info) for info in found])
    return EXIT_FINISHED


def _on_host(text: str) -> list[RunInfo]:
    name = parse(text)
    if name is None or name.run:
        raise BadInput(f"'{plain(text, 80)}': the runs on another machine are those of HOST: (with the colon)")
    return list_runs(name)


def _row(info: RunInfo) -> tuple[str, ...]:
    status = info.status
    if status is None:
        return (info.run.id, "unknown", "", "", "", "", "", "its status cannot be read")
    best = f"{status.metric} {status.best:.4g}" if status.best is not None else ""
    rate = f"{status.images_per_second:.0f}" if status.images_per_second else ""
    ended = status.ended or (status.heartbeat if status.state.over else time.time())
    return (
        plain(info.run.id, 60),
        status.state.value,
        f"{min(status.epoch + 1, status.epochs)}/{status.epochs}",
        f"{status.step}/{status.total_steps}" if status.total_steps else str(status.step),
        rate,
        plain(best, 30),
        duration(ended - status.started),
        plain(status.reason, 120) if status.state is not State.FINISHED else "",
    )
