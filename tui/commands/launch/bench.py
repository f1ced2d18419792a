"""``gputrain-tui bench``: measures default against optimized settings; prints a table, JSON or Markdown."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED, BadInput
from gputrain.engine.common.files import write_output
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.tui.actions.plan_from_arguments import plan_of
from gputrain.tui.actions.run_ablation import blank, check_writable, measure_stages, stages_for
from gputrain.tui.commands.command_messages import progress_printer
from gputrain.tui.render.bench_table import Bench, cells, header, markdown, remarks, title
from gputrain.tui.render.charset import wants_ascii
from gputrain.tui.render.text_table import print_table


def run(options: argparse.Namespace) -> int:
    """Returns 0 if every applicable stage was measured, else 1."""
    if options.markdown:
        check_writable(Path(options.markdown))
    machine = inspect_machine()
    plan = plan_of(options, machine)
    if plan.refuses:
        raise BadInput("; ".join(plan.refuses))
    stages = stages_for(plan, machine, every=options.ladder)
    report = progress_printer("bench")
    for stage in stages:
        if stage.skipped:
            report(f"{stage.name}: skipped ({stage.skipped})")
    bench = measure_stages(
        blank(plan, machine, stages, steps=options.steps, rounds=options.rounds), plan.config, stages, report
    )
    _print(bench, options.json)
    if options.markdown:
        write_output(Path(options.markdown), markdown(bench).encode())
    failed = [row for row, stage in zip(bench.rows, stages, strict=True) if row.error and not stage.skipped]
    return EXIT_FAILED if failed else EXIT_FINISHED


def _print(bench: Bench, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(bench).decode())
        return
    print(title(bench))
    print_table(header(bench), [cells(row, bench, wants_ascii()) for row in bench.rows])
    for remark in remarks(bench):
        print(remark)
