"""A person's first own profile: a commented file that starts from what fits this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import config_home, write_atomic
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import GIB
from gputrain.engine.configuration import settings
from gputrain.engine.estimates.worker_limit import worker_limit
from gputrain.engine.hardware.machine import GpuInfo, Machine
from gputrain.engine.planning.fallbacks import halves_precision
from gputrain.profiles import catalog
from gputrain.profiles.schema import HardwareProfile, Preset, derived_batch

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_MEMORY_MARGIN = 0.03
"""Drivers differ by a few MiB in what they call a card's memory."""

_HEAD = """\
# A hardware profile of your own. It started as {name} on {host}; change what you like.
# Settings that may stand here: `gputrain-tui settings` lists all; those of learning belong to recipes.
"""
_MATCH_CPU = """\
match:
  device: cpu  # for training without a GPU
"""
_PRESETS = """\
# One preset is chosen at launch; its settings win over those above. Their names are free,
# as long as default_preset is one of them.
"""
_WORKERS = """\
# Share of the usable cores that workers may take; without num_workers it is also their number.
"""


def new_profile(name: str, machine: Machine) -> Path:
    """Write a starting file into the person's folder and return its path.

    Raises BadInput for a name that cannot be a file, a profile that is there already, or a folder that
    cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(f"'{plain(name, 60)}' cannot be a profile's name: letters, digits, '-', '_' and '.' can")
    path = config_home() / "profiles" / f"{name}.yaml"
    if path.exists():
        raise BadInput(f"{path} is there already")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, starter_profile(machine).encode())
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from None
    return path


def starter_profile(machine: Machine) -> str:
    """The text of a profile for `machine`, with the values of the best profile there is."""
    base = catalog.load_profile(catalog.best(machine))
    gpu = machine.gpus[0] if machine.gpus else None
    told = set[str]()
    lines = [
        _HEAD.format(name=base.name, host=plain(machine.hostname, 60)),
        f"title: {_scalar(f'My {gpu.name}' if gpu else 'My CPU')}\n",
        "".join(_match(gpu)) if gpu else _MATCH_CPU,
        f"source: {_scalar(f'started from {base.name}')}\n\n",
        f"{_WORKERS}worker_share: {base.worker_share:g}\n\n",
        "# What all presets have in common.\nsettings:\n",
        *_settings(base.settings, 2, told),
        f"\n{_PRESETS}default_preset: {_scalar(base.default_preset)}\npresets:\n",
    ]
    for preset in base.presets.values():
        lines.extend(_preset(base, preset, machine, told))
    return "".join(lines)


def _match(gpu: GpuInfo) -> Iterator[str]:
    yield "# A GPU must meet every rule given here; * in a name stands for any text.\nmatch:\n"
    yield f"  names: [{_scalar(gpu.name)}]\n"
    if gpu.memory is not None:
        low, high = (gpu.memory / GIB * (1 + side * _MEMORY_MARGIN) for side in (-1, 1))
        yield f"  memory_gib: [{low:.2f}, {high:.2f}]\n"
    if gpu.capability is not None:
        yield f"  capability: {gpu.capability[0]}.{gpu.capability[1]}\n"


def _preset(base: HardwareProfile, preset: Preset, machine: Machine, told: set[str]) -> Iterator[str]:
    values = {**preset.settings, **_batch(base, preset, machine)}
    limit = worker_limit(machine.usable_cores, preset.worker_share or base.worker_share)
    workers = {**base.settings, **values}.get("num_workers")
    yield f"  {_scalar(preset.name)}:\n"
    if preset.worker_share:
        yield f"    worker_share: {preset.worker_share:g}\n"
    if workers is None:
        yield f"    # num_workers follows from worker_share: {limit} on this machine\n"
    elif workers > limit:
        yield f"    # num_workers is cut to {limit} on this machine by worker_share\n"
    yield from _settings(values, 4, told)
    if preset.recipes:
        yield "    # For single recipes, instead of the above and of what the recipe requires.\n    recipes:\n"
    for recipe, own in preset.recipes.items():
        yield f"      {_scalar(recipe)}:\n"
        yield from _settings(own, 8, told)


def _batch(base: HardwareProfile, preset: Preset, machine: Machine) -> dict[str, int]:
    """The batch that plans make of the preset here, where it is not the preset's own."""
    gpu = machine.gpus[0] if machine.gpus else None
    if gpu is None or gpu.memory is None:
        return {}
    whole = halves_precision(gpu)
    if preset.batch_per_gib:
        return {"batch_size": derived_batch(preset.batch_per_gib if whole else preset.batch_per_gib / 2, gpu.memory)}
    # The new profile names the card's capability, so that plans will not halve its batches any more.
    if not whole and base.match.capability is None and "batch_size" in preset.settings:
        return {"batch_size": max(1, preset.settings["batch_size"] // 2)}
    return {}


def _settings(values: Mapping[str, Any], indent: int, told: set[str]) -> Iterator[str]:
    """The settings, with what each means where it stands for the first time (`told` remembers)."""
    for name, value in values.items():
        what = "" if name in told else f"  # {plain(settings.find(name).description, 200)}"
        told.add(name)
        yield f"{' ' * indent}{name}: {_scalar(value)}{what}\n"


def _scalar(value: Any) -> str:
    """One value in YAML, on one line; texts made harmless."""
    harmless = plain(value, 200) if isinstance(value, str) else value
    text: str = yaml.safe_dump(harmless, width=float("inf"), allow_unicode=True)
    return text.removesuffix("...\n").rstrip("\n")
