"""Checkpoints of torch: plain torch files, as `checkpointfiles` keeps them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch.utils.serialization import config as torch_saving

from gputrain.engine.config import CheckpointConfig
from gputrain.engine.text import plain
from gputrain.engine.training import checkpointfiles, snapshot
from gputrain.engine.training.checkpointfiles import CheckpointFiles, Summed
from gputrain.engine.training.reporter import Reporter
from gputrain.engine.training.saving import Saver


class TorchForm:
    """See `checkpointfiles.Form`: files that load with ``weights_only=True``."""

    suffix = ".pt"

    def size_of(self, state: Any) -> int:
        """See `checkpointfiles.Form`."""
        return snapshot.size_of(state)

    def write(self, state: dict[str, Any], file: Summed) -> None:
        """See `checkpointfiles.Form`."""
        try:
            # The sums that zip files have inside would be worked out for nothing.
            with torch_saving.patch("save.compute_crc32", False):  # type: ignore[attr-defined]
                torch.save(state, cast("IO[bytes]", file))
        except RuntimeError as error:
            # So does torch's own writer call what the system said.
            raise OSError(errno.EIO, f"it could not be written: {plain(str(error), 200)}") from error

    def read(self, path: Path) -> dict[str, Any]:
        """See `checkpointfiles.Form`."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state if isinstance(state, dict) else {}


class Checkpoints(CheckpointFiles):
    """The checkpoints of one run directory."""

    def __init__(self, folder: Path, keep_last: int) -> None:
        super().__init__(folder, keep_last, TorchForm())


def saver(folder: Path, config: CheckpointConfig, reporter: Reporter, *, writes: bool = True) -> Saver:
    """Writes the checkpoints of a run; without `writes` it only counts, as another rank writes them."""

    def warn(text: str) -> None:
        reporter.notice("warning", text)

    copier = snapshot.Snapshot(warn) if config.async_checkpoints else None
    return Saver(Checkpoints(folder, config.keep_last) if writes else None, reporter, copier)


def load(source: str, passed_over: Callable[[str], None]) -> dict[str, Any]:
    """See `checkpointfiles.load`."""
    return checkpointfiles.load(source, TorchForm(), passed_over)
