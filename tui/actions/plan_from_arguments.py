"""Makes the plan for the options of a command."""

from __future__ import annotations

import argparse
from pathlib import Path

from gputrain.engine.common import remote_urls
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.hugging_face_names import is_hub_name
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.config_file import read_config_with_notes
from gputrain.engine.estimates import calibration_store
from gputrain.engine.estimates.host_memory import DataFacts, images_per_sample
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.planning import preflight
from gputrain.engine.planning.model_preflight import ModelPlan, plan_model
from gputrain.engine.planning.plan import Plan, make_plan
from gputrain.engine.planning.plan_draft import SettingsLayer
from gputrain.profiles import assumed_machine
from gputrain.profiles.resolve_plan import resolve_plan

DEFAULT_RECIPE = "demo"


def plan_of(options: argparse.Namespace, machine: Machine, facts: DataFacts | None = None) -> Plan:
    """The plan for the options of a command that choose recipe, profile, data, hosts and settings.

    Scans the data for `facts` if they are None. Raises BadInput.
    """
    hosts = [f"hosts={options.hosts}"] if options.hosts else []
    overrides, notes = settings.parse_overrides([*hosts, *options.overrides])
    data_dir = remote_urls.absolute(options.data) if options.data else None
    if not options.config:
        return resolve_plan(
            machine,
            recipe=options.recipe or DEFAULT_RECIPE,
            profile=options.profile,
            preset=options.preset,
            overrides=overrides,
            data_dir=data_dir,
            facts=facts,
            warnings=notes,
        )
    if options.recipe or options.profile or options.preset:
        raise BadInput("--config already contains all settings: remove --recipe, --profile and --preset")
    saved, renamed = read_config_with_notes(Path(options.config))
    config = settings.flatten(saved)
    if data_dir:
        usual = "hf" if is_hub_name(data_dir) else "imagefolder"
        layout = {"dataset": usual} if config["dataset"] == "demo" else {}
        overrides = {"data_dir": data_dir, **layout, **overrides}
    layers = [SettingsLayer(Path(options.config).name, config), SettingsLayer("you", overrides, own=True)]
    own = {settings.find(name).name: settings.check(settings.find(name), value) for name, value in overrides.items()}
    faults = preflight.preflight_problems({**config, **own})
    made = calibration_store.load(machine, str(config["recipe"]))
    # A file of all settings has mean, std and sizes already: only the faults of model and weights count.
    of_model = ModelPlan() if faults else plan_model({**config, **own}, settings.table())
    refusals = (*faults, *of_model.refusals)
    notes = (*renamed, *notes, *of_model.warnings)
    return make_plan(layers, machine, facts, None, notes, refusals, made, of_model.forceable, of_model.facts)


def plan_for_other_machine(options: argparse.Namespace, here: Machine) -> Plan:
    """The plan for the machine of ``--machine``, with its profile unless ``--profile`` is given. Raises BadInput."""
    wanted = assumed_machine.parse(options.machine)
    machine = assumed_machine.machine_of(wanted, here)
    if not options.config and not options.profile:
        options = argparse.Namespace(**{**vars(options), "profile": wanted.profile})
    if wanted.images is None:
        return plan_of(options, machine)
    # The recipe defines how many images make a sample.
    group = images_per_sample(settings.flatten(plan_of(options, machine).config))
    return plan_of(options, machine, DataFacts(wanted.images * group, group=group))
