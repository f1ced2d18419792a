"""``gputrain-tui runs``: the runs of this user as a table, or as JSON lines."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import msgspec

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED, BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain
from gputrain.engine.remote.remote_runs import list_runs
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.remote_name import parse
from gputrain.engine.runs.run_directory import State
from gputrain.engine.runs.run_marks import read_marks
from gputrain.tui.actions.run_list import HEADER, ORDERS, Row, cells, ordered, wanted
from gputrain.tui.render.text_table import print_table
from gputrain.tui.terminal import gc_pause


def run(options: argparse.Namespace) -> int:
    """Print the runs; returns 1 if another machine's cannot be had."""
    if options.screen:
        return _screen(options)
    try:
        found = _on_host(options.host) if options.host else _here()
    except OSError as error:
        print(f"gputrain-tui: {plain(str(error), 500)}", file=sys.stderr)
        return EXIT_FAILED
    rows = _chosen(found, options)[: options.lines]
    if options.json:
        for row in rows:
            print(msgspec.json.encode(_as_json(row)).decode())
        return EXIT_FINISHED
    if not rows:
        print("no such runs" if found else "no runs yet; start one with: gputrain-tui train --recipe demo")
        return EXIT_FINISHED
    print_table(HEADER, [cells(row) for row in rows])
    return EXIT_FINISHED


def _screen(options: argparse.Namespace) -> int:
    if options.host or options.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput("--screen needs a terminal, and is for the runs of this machine; leave it out for a list")
    gc_pause.pause_gc()
    from gputrain.tui.app import GpuTrainApp
    from gputrain.tui.screens.runs.runs_screen import RunsScreen

    app = GpuTrainApp(first=RunsScreen)
    code = app.run()
    if app.quit_result is not None:
        print(app.quit_result.exit_message)
    return code if code is not None else EXIT_FAILED


def _chosen(rows: list[Row], options: argparse.Namespace) -> list[Row]:
    if options.state and options.state not in list(State):
        raise BadInput(
            f"--state must be one of {', '.join(State)}, got '{options.state}'{did_you_mean(options.state, State)}"
        )
    if options.sort not in ORDERS:
        raise BadInput(
            f"--sort must be one of {', '.join(ORDERS)}, got '{plain(options.sort, 40)}'"
            f"{did_you_mean(options.sort, ORDERS)}"
        )
    return ordered(wanted(rows, options.find or "", options.state or "", options.tag), options.sort)


def _as_json(row: Row) -> dict[str, Any]:
    status = msgspec.to_builtins(row.info.status) if row.info.status else {"state": "unknown"}
    place = {"run": row.info.run.id, "directory": plain(str(row.info.run.directory))}
    status = {key: plain(value) if isinstance(value, str) else value for key, value in status.items()}
    return {**place, **status, "name": row.name, "tags": row.marks.tags, "note": row.marks.note}


def _here() -> list[Row]:
    return [Row(info, read_marks(info.run)) for info in run_directory.list_runs()]


def _on_host(text: str) -> list[Row]:
    name = parse(text)
    if name is None or name.run:
        raise BadInput(f"'{plain(text, 80)}': the runs on another machine are those of HOST: (with the colon)")
    return [Row(info, marks) for info, marks in list_runs(name)]
