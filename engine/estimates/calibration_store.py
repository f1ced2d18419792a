"""Calibrations on disk: one JSON file for each machine, recipe and set of settings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import state_home, write_atomic
from gputrain.engine.common.renamed_names import current_settings
from gputrain.engine.common.sanitize import plain
from gputrain.engine.estimates.calibration import VERSION, Calibration
from gputrain.engine.hardware.machine import Machine


def machine_key(machine: Machine) -> str:
    """Twelve characters that change with the host, its usable cores, its GPUs and its torch."""
    gpus = ",".join(gpu.uuid or gpu.name for gpu in machine.gpus)
    torch = machine.torch.version if machine.torch else ""
    parts = (machine.hostname, machine.cpu_model, f"{machine.usable_cores:g}", gpus, torch)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def save(calibration: Calibration) -> Path:
    """Write it, replacing an older one for the same settings; returns the path. Raises BadInput on a write error."""
    content = msgspec.json.encode(calibration.settings, order="sorted")
    folder = _folder() / calibration.machine
    path = folder / f"{_file_name(calibration.recipe)}-{hashlib.sha256(content).hexdigest()[:12]}.json"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, msgspec.json.encode(calibration))
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from None
    return path


def load(machine: Machine, recipe: str) -> list[Calibration]:
    """All calibrations of `recipe` on `machine`, without unreadable files and those of another version."""
    found = []
    for path in sorted((_folder() / machine_key(machine)).glob(f"{_file_name(recipe)}-*.json")):
        try:
            one = msgspec.json.decode(path.read_bytes(), type=Calibration)
        except (OSError, msgspec.DecodeError, UnicodeError):
            continue
        if one.version == VERSION and one.recipe == recipe:
            found.append(msgspec.structs.replace(one, settings=current_settings(one.settings)))
    return found


def _folder() -> Path:
    return state_home() / "calibrations"


def _file_name(recipe: str) -> str:
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in plain(recipe, 60))
    return kept.lstrip(".") or "settings"
