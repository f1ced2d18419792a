"""PyTorch checkpoints: files of torch.save in the folder that `checkpoint_files` manages."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch.utils.serialization import config as torch_saving

from gputrain.engine.checkpointing import newest_checkpoint
from gputrain.engine.checkpointing.checkpoint_files import CheckpointFiles, ChecksummedWriter
from gputrain.engine.checkpointing.checkpoint_saver import CheckpointSaver
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import CheckpointConfig
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.training.distributed import shard_folder
from gputrain.engine.training.state import state_snapshot


class TorchCheckpointFormat:
    """See `checkpoint_files.CheckpointFormat`: files that load with ``weights_only=True``."""

    suffix = ".pt"

    def size_of(self, state: Any) -> int:
        """See `checkpoint_files.CheckpointFormat`."""
        return state_snapshot.size_of(state)

    def write(self, state: dict[str, Any], file: ChecksummedWriter) -> None:
        """See `checkpoint_files.CheckpointFormat`."""
        try:
            # No CRC32 inside the zip file: `checkpoint_files` has a checksum of the whole file.
            with torch_saving.patch("save.compute_crc32", False):  # type: ignore[attr-defined]
                torch.save(state, cast("IO[bytes]", file))
        except RuntimeError as error:
            # torch's writer raises RuntimeError for an error of the file system.
            raise OSError(errno.EIO, f"it could not be written: {plain(str(error), 200)}") from error

    def read(self, path: Path) -> dict[str, Any]:
        """See `checkpoint_files.CheckpointFormat`."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            return {}
        return {**state, "shards_at": shard_folder.folder_of(state, path)}


class Checkpoints(CheckpointFiles):
    """The checkpoints of one run directory."""

    def __init__(self, folder: Path, keep_last: int) -> None:
        super().__init__(folder, keep_last, TorchCheckpointFormat())


def saver(
    folder: Path, config: CheckpointConfig, reporter: EventReporter, *, writes: bool = True, together: bool = False
) -> CheckpointSaver:
    """Saver of a run's checkpoints. `writes` False: another rank writes them, this one only counts.

    `together`: all ranks write their parts, while the training waits.
    """

    def warn(text: str) -> None:
        reporter.notice("warning", text)

    copier = state_snapshot.StateSnapshot(warn) if config.async_checkpoints and not together else None
    return CheckpointSaver(Checkpoints(folder, config.keep_last) if writes else None, reporter, copier)


def load(source: str, warn: Callable[[str], None], *, whole: bool = True) -> dict[str, Any]:
    """See `newest_checkpoint.load`.

    `whole` False: the tensors of a sharded checkpoint stay in the folder that ``shards_at`` names, a Path.
    """
    state = newest_checkpoint.load(source, TorchCheckpointFormat(), warn)
    folder = state.get("shards_at")
    if not whole or folder is None:
        return state
    from gputrain.engine.training.distributed import checkpoint_shards  # no other checkpoint waits for it

    return checkpoint_shards.with_tensors(state, folder)
