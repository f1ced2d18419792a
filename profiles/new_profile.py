"""Creates a user profile: a commented file with the values of the best profile for this machine."""

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
"""Relative tolerance for memory_gib: drivers report memory sizes that differ by a few MiB."""

_HEAD = """\
# Your own hardware profile, copied from {name} on {host}. Change any value.
# `gputrain-tui settings` lists all settings; settings of the training itself belong to recipes.
"""
_MATCH_CPU = """\
match:
  device: cpu  # for training without a GPU
"""
_PRESETS = """\
# Each run uses one preset, whose settings override those above. You may choose the names of the presets;
# default_preset must be one of them.
"""
_WORKERS = """\
# Largest share of the usable cores for data workers; without num_workers it is also their number.
"""


def new_profile(name: str, machine: Machine) -> Path:
    """Write a starter profile into the user's folder; returns its path.

    Raises BadInput for an invalid name, an existing profile, or a folder that cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(f"'{plain(name, 60)}' is not a valid profile name: use letters, digits, '-', '_' and '.'")
    path = config_home() / "profiles" / f"{name}.yaml"
    if path.exists():
        raise BadInput(f"{path} already exists; choose another name, or edit that file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, starter_profile(machine).encode())
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from None
    return path


def starter_profile(machine: Machine) -> str:
    """The text of a profile for `machine`, with the values of the best profile."""
    base = catalog.load_profile(catalog.best(machine))
    gpu = machine.gpus[0] if machine.gpus else None
    described = set[str]()
    lines = [
        _HEAD.format(name=base.name, host=plain(machine.hostname, 60)),
        f"title: {_scalar(f'My {gpu.name}' if gpu else 'My CPU')}\n",
        "".join(_match(gpu)) if gpu else _MATCH_CPU,
        f"source: {_scalar(f'copied from {base.name}')}\n\n",
        f"{_WORKERS}worker_share: {base.worker_share:g}\n\n",
        "# Settings of all presets.\nsettings:\n",
        *_settings(base.settings, 2, described),
        f"\n{_PRESETS}default_preset: {_scalar(base.default_preset)}\npresets:\n",
    ]
    for preset in base.presets.values():
        lines.extend(_preset(base, preset, machine, described))
    return "".join(lines)


def _match(gpu: GpuInfo) -> Iterator[str]:
    yield "# A GPU must meet all of these rules; * in a name matches any text.\nmatch:\n"
    yield f"  names: [{_scalar(gpu.name)}]\n"
    if gpu.memory is not None:
        low, high = (gpu.memory / GIB * (1 + side * _MEMORY_MARGIN) for side in (-1, 1))
        yield f"  memory_gib: [{low:.2f}, {high:.2f}]\n"
    if gpu.capability is not None:
        yield f"  capability: {gpu.capability[0]}.{gpu.capability[1]}\n"


def _preset(base: HardwareProfile, preset: Preset, machine: Machine, described: set[str]) -> Iterator[str]:
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
    yield from _settings(values, 4, described)
    if preset.recipes:
        yield "    # For single recipes; they override the settings above and the recipe's requires.\n    recipes:\n"
    for recipe, own in preset.recipes.items():
        yield f"      {_scalar(recipe)}:\n"
        yield from _settings(own, 8, described)


def _batch(base: HardwareProfile, preset: Preset, machine: Machine) -> dict[str, int]:
    """The batch size that a plan derives from the preset on `machine`; empty where it is the preset's own."""
    gpu = machine.gpus[0] if machine.gpus else None
    if gpu is None or gpu.memory is None:
        return {}
    whole = halves_precision(gpu)
    if preset.batch_per_gib:
        return {"batch_size": derived_batch(preset.batch_per_gib if whole else preset.batch_per_gib / 2, gpu.memory)}
    # The new profile has the GPU's compute capability, so that plans no longer halve its batches.
    if not whole and base.match.capability is None and "batch_size" in preset.settings:
        return {"batch_size": max(1, preset.settings["batch_size"] // 2)}
    return {}


def _settings(values: Mapping[str, Any], indent: int, described: set[str]) -> Iterator[str]:
    """Lines of settings, each with its description at its first use (`described` has the names so far)."""
    for name, value in values.items():
        what = "" if name in described else f"  # {plain(settings.find(name).description, 200)}"
        described.add(name)
        yield f"{' ' * indent}{name}: {_scalar(value)}{what}\n"


def _scalar(value: Any) -> str:
    """A value as YAML on one line, with sanitized text."""
    harmless = plain(value, 200) if isinstance(value, str) else value
    text: str = yaml.safe_dump(harmless, width=float("inf"), allow_unicode=True)
    return text.removesuffix("...\n").rstrip("\n")
