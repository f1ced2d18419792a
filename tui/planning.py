"""The plan that a command line asks for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gputrain.engine import calibrationstore, preflight, settings
from gputrain.engine.adjust import Layer
from gputrain.engine.configfile import read_config
from gputrain.engine.errors import BadInput
from gputrain.engine.machine import Machine
from gputrain.engine.plan import Plan, make_plan
from gputrain.profiles.choose import choose

DEFAULT_RECIPE = "demo"


def plan_of(options: argparse.Namespace, machine: Machine) -> Plan:
    """The plan of a command's ``--recipe``, ``--profile``, ``--preset``, ``--data``, ``--config`` and settings.

    Raises BadInput.
    """
    overrides: dict[str, Any] = dict(settings.parse_override(argument) for argument in options.overrides)
    data_dir = str(Path(options.data).expanduser().absolute()) if options.data else None
    if not options.config:
        return choose(
            machine,
            recipe=options.recipe or DEFAULT_RECIPE,
            profile=options.profile,
            preset=options.preset,
            overrides=overrides,
            data_dir=data_dir,
        )
    if options.recipe or options.profile or options.preset:
        raise BadInput("--config holds all settings of a run: leave out --recipe, --profile and --preset")
    config = settings.flatten(read_config(Path(options.config)))
    if data_dir:
        layout = {"dataset": "imagefolder"} if config["dataset"] == "demo" else {}
        overrides = {"data_dir": data_dir, **layout, **overrides}
    layers = [Layer(Path(options.config).name, config), Layer("you", overrides, own=True)]
    own = {settings.find(name).name: settings.check(settings.find(name), value) for name, value in overrides.items()}
    faults = preflight.faults({**config, **own})
    made = calibrationstore.load(machine, str(config["recipe"]))
    return make_plan(layers, machine, refusals=faults, calibrations=made)
