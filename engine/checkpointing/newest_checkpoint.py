"""Chooses the newest valid checkpoint of a run and loads it. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.checkpointing.checkpoint_files import CheckpointFormat, entry_of
from gputrain.engine.checkpointing.checkpoint_index import matches_checksum, read_index
from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain

Warn = Callable[[str], None]
"""Gets a message for each damaged file that is skipped."""


def load(source: str, form: CheckpointFormat, warn: Warn) -> dict[str, Any]:
    """The state in a checkpoint file, or in the newest valid checkpoint of a folder or run directory, in `form`.

    `warn` gets a message for each damaged file that is skipped. Raises BadInput if there is no valid checkpoint.
    """
    path = files.expand_user(source)
    if path.is_dir():
        return _load_newest(path / "checkpoints" if (path / "checkpoints").is_dir() else path, form, warn)
    if not path.is_file():
        raise BadInput(f"resume_from: {plain(source, 200)} does not exist")
    entry = entry_of(path)
    if entry is not None:
        path = path.with_name(entry.file)
        if not matches_checksum(path.parent, entry):
            raise BadInput(f"resume_from: {path} is damaged: its content does not match its checksum")
    return _read(path, form)


def _load_newest(folder: Path, form: CheckpointFormat, warn: Warn) -> dict[str, Any]:
    for entry in checkpoint_index.newest_first(read_index(folder)):
        if matches_checksum(folder, entry):
            return _read(folder / entry.file, form)
        warn(f"checkpoint {entry.file} (step {entry.step}) is damaged or missing; trying the one before")
    raise BadInput(f"resume_from: {folder} has no complete checkpoint")


def _read(path: Path, form: CheckpointFormat) -> dict[str, Any]:
    try:
        state = form.read(path)
    except Exception as error:  # noqa: BLE001 - a reader raises whatever it meets in a foreign file
        raise BadInput(f"resume_from: {path} is not a checkpoint: {plain(str(error), 200)}") from None
    if "position" not in state:
        raise BadInput(f"resume_from: {path} holds no training state; for weights alone use weights={path}")
    return state
