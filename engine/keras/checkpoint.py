"""Keras checkpoints: NumPy ``.npz`` files, which contain arrays and run no code.

``model/PATH`` are the network's variables, ``optimizer/PATH`` those of the optimizer, ``state`` is JSON.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from gputrain.engine.checkpointing import newest_checkpoint
from gputrain.engine.checkpointing.checkpoint_files import CheckpointFiles, ChecksummedWriter
from gputrain.engine.checkpointing.checkpoint_saver import CheckpointSaver
from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.keras_compatibility import CHECKPOINT
from gputrain.engine.configuration.setting_definitions import CheckpointConfig, RunConfig
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.processes.event_reporter import EventReporter

Arrays = dict[str, npt.NDArray[Any]]
_STATE = "state"
_GROUPS = ("model", "optimizer")


class NpzCheckpointFormat:
    """See `checkpoint_files.CheckpointFormat`."""

    suffix = CHECKPOINT

    def size_of(self, state: Mapping[str, Any]) -> int:
        """See `checkpoint_files.CheckpointFormat`."""
        return sum(array.nbytes for group in _GROUPS for array in state[group].values())

    def write(self, state: dict[str, Any], file: ChecksummedWriter) -> None:
        """See `checkpoint_files.CheckpointFormat`. Not with ``np.savez``, which needs a readable file."""
        plain_values = {name: value for name, value in state.items() if name not in _GROUPS}
        text = np.frombuffer(msgspec.json.encode(plain_values), np.uint8)
        with zipfile.ZipFile(file, "w", allowZip64=True) as archive:  # type: ignore[call-overload]
            _add(archive, _STATE, text)
            for group in _GROUPS:
                for path, array in state[group].items():
                    _add(archive, f"{group}/{path}", array)

    def read(self, path: Path) -> dict[str, Any]:
        """See `checkpoint_files.CheckpointFormat`."""
        with np.load(path, allow_pickle=False) as archive:
            state: dict[str, Any] = msgspec.json.decode(archive[_STATE].tobytes())
            for group in _GROUPS:
                names = [name for name in archive.files if name.startswith(f"{group}/")]
                state[group] = {name.removeprefix(f"{group}/"): archive[name] for name in names}
        return state


def _add(archive: zipfile.ZipFile, name: str, array: npt.NDArray[Any]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


class _StateCopies:
    """See `StateCopier`: the arrays of a state are copies already."""

    def take(self, state: Mapping[str, Any]) -> dict[str, Any]:
        return dict(state)

    def wait(self) -> None:
        """The copy is complete."""


def saver(folder: Path, config: CheckpointConfig, reporter: EventReporter) -> CheckpointSaver:
    """Writes the checkpoints of a run."""
    files = CheckpointFiles(folder, config.keep_last, NpzCheckpointFormat())
    return CheckpointSaver(files, reporter, _StateCopies() if config.async_checkpoints else None)


def load(source: str, warn: newest_checkpoint.Warn) -> dict[str, Any]:
    """See `newest_checkpoint.load`."""
    return newest_checkpoint.load(source, NpzCheckpointFormat(), warn)


def weights_of(file: str) -> Arrays:
    """The network's variables in a checkpoint file, by path. Raises BadInput."""
    found: Arrays = content_of(file)["model"]
    return found


def content_of(file: str) -> dict[str, Any]:
    """The state in a checkpoint file that ``weights`` names. Raises BadInput."""
    try:
        return NpzCheckpointFormat().read(files.expand_user(file))
    except Exception as error:  # noqa: BLE001 - a foreign file can raise any error
        raise BadInput(f"weights: {plain(file, 200)} is not a Keras checkpoint: {plain(str(error), 200)}") from None


def state_of(
    where: ResumePosition, config: RunConfig, images: ImageSet, network: Any, optimizer: Any
) -> dict[str, Any]:
    """Content of a checkpoint; its arrays are copies."""
    return {
        "position": asdict(where),
        "settings": settings.flatten(config),
        "classes": list(images.classes),
        "train_images": len(images),
        "model": arrays_of(network.variables),
        "optimizer": arrays_of(optimizer.variables),
    }


def arrays_of(variables: Iterable[Any]) -> Arrays:
    """Copies of Keras variables by path; variables with the same path are numbered."""
    return {name: np.array(variable.numpy()) for name, variable in _named(variables)}


def restore_arrays(
    variables: Iterable[Any], arrays: Mapping[str, npt.NDArray[Any]], what: str, optional: str | None = None
) -> None:
    """Assign the values of `arrays_of` to the variables. Raises BadInput if names or shapes differ.

    Variables whose paths start with `optional` may be missing on either side.
    """
    named = dict(_named(variables))
    needed, there = (
        [name for name in names if optional is None or not name.startswith(optional)] for names in (named, arrays)
    )
    if needed != there:
        raise BadInput(f"the checkpoint does not fit the {what}: it has {len(there)} variables for {len(needed)}")
    for name, variable in named.items():
        if name not in arrays:
            continue
        if tuple(variable.shape) != arrays[name].shape:
            raise BadInput(f"the checkpoint does not fit the {what}: {plain(name, 100)} has another shape")
        variable.assign(arrays[name])


def _named(variables: Iterable[Any]) -> Iterable[tuple[str, Any]]:
    seen: dict[str, int] = {}
    for variable in variables:
        number = seen[variable.path] = seen.get(variable.path, 0) + 1
        yield variable.path if number == 1 else f"{variable.path}#{number}", variable
