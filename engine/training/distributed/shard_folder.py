"""Where the tensors of a sharded checkpoint are. Apart from `checkpoint_shards`, whose imports take long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain


def folder_of(state: dict[str, Any], file: Path) -> Path | None:
    """The folder with the tensors of a checkpoint's `file`; None: they are in the file. Raises BadInput."""
    shards = state.get("shards")
    if not isinstance(shards, dict) or not shards:
        return None
    name = str(shards.get("folder"))
    if name != Path(name).name or not (file.parent / name).is_dir():
        raise BadInput(f"{file}: the weights are in the folder {plain(name, 80)} beside it, which is missing")
    return file.parent / name
