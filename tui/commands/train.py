"""``gputrain-tui train``: plan, start, watch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from gputrain.engine import launch, settings
from gputrain.engine.adjust import Layer
from gputrain.engine.configfile import read_config
from gputrain.engine.errors import EXIT_FAILED, EXIT_FINISHED, BadInput
from gputrain.engine.machine import inspect_machine
from gputrain.engine.plan import Plan, make_plan
from gputrain.profiles.choose import choose
from gputrain.tui.commands.table import print_table
from gputrain.tui.commands.watch import watch

DEFAULT_RECIPE = "demo"


def run(options: argparse.Namespace) -> int:
    """Returns the exit code of the run's outcome."""
    plan = _plan(options)
    if options.dry_run:
        return _show(plan, options.json)
    if plan.refuses:
        raise BadInput("; ".join(plan.refuses))
    if not options.json:
        for warning in (*plan.adjustments, *plan.warnings):
            print(f"plan: {warning}", file=sys.stderr)
    try:
        started = launch.launch(plan.config, plan.origins, (*plan.adjustments, *plan.warnings))
    except RuntimeError as error:
        print(f"gputrain-tui: {error}", file=sys.stderr)
        return EXIT_FAILED
    if options.detach:
        print(started.id)
        return EXIT_FINISHED
    return watch(launch.attach(started), options, owner=True)


def _plan(options: argparse.Namespace) -> Plan:
    overrides: dict[str, Any] = dict(settings.parse_override(argument) for argument in options.overrides)
    if options.data:
        overrides["data_dir"] = str(Path(options.data).expanduser().resolve())
        overrides.setdefault("dataset", "imagefolder")
    machine = inspect_machine()
    if not options.config:
        return choose(
            machine,
            recipe=options.recipe or DEFAULT_RECIPE,
            profile=options.profile,
            preset=options.preset,
            overrides=overrides,
        )
    if options.recipe or options.profile or options.preset:
        raise BadInput("--config holds all settings of a run: leave out --recipe, --profile and --preset")
    config = settings.flatten(read_config(Path(options.config)))
    return make_plan([Layer(_file_name(options.config), config), Layer("you", overrides, own=True)], machine)


def _file_name(path: str) -> str:
    """A file as the origin of settings."""
    return Path(path).name


def _show(plan: Plan, as_json: bool) -> int:
    if as_json:
        print(msgspec.json.encode(plan).decode())
        return EXIT_FINISHED
    rows = [(row.setting, row.value, row.origin, row.note) for row in plan.rows if row.origin != "default" or row.note]
    print_table(("setting", "value", "from", ""), rows)
    print()
    for name, text in plan.facts:
        print(f"{name:<16} {text}")
    for kind, texts in (("adjusted", plan.adjustments), ("warning", plan.warnings), ("refused", plan.refuses)):
        for text in texts:
            print(f"{kind}: {text}")
    return EXIT_FINISHED
