"""``gputrain-tui runs``: lists the runs of this user as a table, as JSON lines or on a screen."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from gputrain.engine.common.errors import EXIT_FINISHED, BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain
from gputrain.engine.remote.remote_runs import list_runs
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.remote_name import parse
from gputrain.engine.runs.run_directory import State
from gputrain.engine.runs.run_labels import read_marks
from gputrain.engine.slurm import queue_state, slurm_commands
from gputrain.tui.actions.run_list import HEADER, ORDERS, Row, cells, ordered, wanted
from gputrain.tui.commands.command_messages import fail
from gputrain.tui.commands.show_app import show_app
from gputrain.tui.render.text_table import print_table

if TYPE_CHECKING:
    from gputrain.tui.app import GpuTrainApp


def run(options: argparse.Namespace) -> int:
    """Print the runs. Returns 1 if the runs of another machine cannot be read."""
    if options.screen:
        return _screen(options)
    try:
        found = _remote_runs(options.host) if options.host else _local_runs()
    except OSError as error:
        return fail(error)
    rows = _chosen(found, options)[: options.lines]
    if options.json:
        for row in rows:
            print(msgspec.json.encode(_as_json(row)).decode())
        return EXIT_FINISHED
    if not rows:
        print("no matching runs" if found else "no runs yet; start one with: gputrain-tui train --recipe demo")
        return EXIT_FINISHED
    print_table(HEADER, [cells(row) for row in rows])
    return EXIT_FINISHED


def _screen(options: argparse.Namespace) -> int:
    if options.host or options.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput("--screen needs a terminal and lists only runs of this machine; for a list remove --screen")

    def make(app: type[GpuTrainApp]) -> GpuTrainApp:
        from gputrain.tui.screens.runs.runs_screen import RunsScreen

        return app(first=RunsScreen)

    return show_app(make)


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


def _local_runs() -> list[Row]:
    infos = queue_state.with_queue(run_directory.list_runs(), slurm_commands.job_states)
    return [Row(info, read_marks(info.run)) for info in infos]


def _remote_runs(text: str) -> list[Row]:
    name = parse(text)
    if name is None or name.run:
        raise BadInput(f"'{plain(text, 80)}': to list the runs of another machine, write HOST: with a colon")
    return [Row(info, marks) for info, marks in list_runs(name)]
