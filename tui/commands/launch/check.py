"""``gputrain-tui check``: checks whether a run works on this machine, and what would slow it down."""

from __future__ import annotations

import argparse

import msgspec

from gputrain.engine.check.findings import Line, advice
from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED
from gputrain.engine.common.sanitize import plain
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.tui.actions.plan_from_arguments import plan_of
from gputrain.tui.actions.run_check import Checked, check


def run(options: argparse.Namespace) -> int:
    """Returns 0 if a run works on this machine, else 1."""
    machine = inspect_machine()
    report = _Printer() if not options.json else lambda _lines: None
    checked = check(machine, lambda: plan_of(options, machine), speed=not options.no_speed, tell=report)
    if options.json:
        print(msgspec.json.encode(checked).decode())
    else:
        _print_verdict(checked)
    return EXIT_FINISHED if checked.works else EXIT_FAILED


class _Printer:
    """Prints findings as they come; each topic is printed once."""

    def __init__(self) -> None:
        self._topic = ""

    def __call__(self, lines: list[Line]) -> None:
        for line in lines:
            topic = line.topic if line.topic != self._topic else ""
            self._topic = line.topic
            level = "" if line.level == "ok" else f"{line.level}: "
            print(f"{topic:<9} {plain(line.title, 40):<18} {level}{plain(line.text, 600)}", flush=True)


def _print_verdict(checked: Checked) -> None:
    commands = advice(checked.lines)
    if commands:
        print("\nadvice: commands to review before running them; none was run:")
        for command in commands:
            print(f"  {plain(command, 300)}")
    counts = {level: sum(line.level == level for line in checked.lines) for level in ("problem", "warning")}
    words = ", ".join(f"{count} {level}{'s' if count != 1 else ''}" for level, count in counts.items())
    print(f"\na run {'works' if checked.works else 'does not work'} on this machine: {words}")
