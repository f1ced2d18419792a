"""Files of a sharded checkpoint: torch.distributed.checkpoint, each rank writes its part into one folder.

The folder has no meaning of its own: the checkpoint's file of ``torch.save`` names it, and the index of checkpoints has
the checksum of each file. A folder that is not listed there is removed.
"""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

from gputrain.engine.checkpointing.checkpoint_files import check_room
from gputrain.engine.checkpointing.checkpoint_index import SHARDS, ShardFile, sha256
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.training.distributed.divided_tensor import own_part
from gputrain.engine.training.distributed.process_group import SingleProcess, collective_errors

Tensors = dict[str, Any]
"""Nested dictionaries of tensors, by string."""
_METADATA = ".metadata"
_METADATA_TYPES = (
    ("torch.distributed.checkpoint.metadata", "Metadata"),
    ("torch.distributed.checkpoint.metadata", "TensorStorageMetadata"),
    ("torch.distributed.checkpoint.metadata", "ChunkStorageMetadata"),
    ("torch.distributed.checkpoint.metadata", "TensorProperties"),
    ("torch.distributed.checkpoint.metadata", "MetadataIndex"),
    ("torch.distributed.checkpoint.metadata", "StorageMeta"),
    ("torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    ("pathlib", "PosixPath"),
)
"""Beside dtypes, all that the metadata of tensors consist of."""


def write(folder: Path, step: int, tensors: Tensors, ranks: SingleProcess) -> dict[str, Any]:
    """Write `tensors` of all ranks, each its own part, into a new folder of the checkpoint folder.

    Returns on rank 0 the folder's name and its files, as plain values, for `CheckpointFiles.save`. All ranks call it.
    Raises OSError on all ranks, and RankLostError.
    """
    sizes = ranks.gather(_bytes(tensors))
    name, refused = ranks.broadcast_object(_new_folder(folder, step, sum(sizes)) if ranks.is_main_process else ("", ""))
    if refused:
        raise OSError(refused)
    path = folder / name
    try:
        with collective_errors():
            state_dict_saver.save(tensors, storage_writer=FileSystemWriter(path, sync_files=True))
        own: list[tuple[str, str, int]] | str = _own_files(path, ranks.rank)
    except CheckpointException as error:
        own = _cause(error)
    except OSError as error:
        own = error.strerror or str(error)
    found = ranks.gather(own)
    failed = next((one for one in found if isinstance(one, str)), "")
    parts = [part for one in found if not isinstance(one, str) for part in one]
    if ranks.is_main_process and not failed:
        missing = [file for file, _, _ in parts if not (path / file).is_file()]
        failed = f"{missing[0]} of another rank is not in {path}: all machines need this folder" if missing else ""
    if failed:
        if ranks.is_main_process:
            shutil.rmtree(path, ignore_errors=True)
        raise OSError(plain(failed, 300))
    files = [ShardFile(f"{name}/{file}", checksum, size) for file, checksum, size in parts]
    return {"folder": name, "files": msgspec.to_builtins(files)}


def _new_folder(folder: Path, step: int, size: int) -> tuple[str, str]:
    """Name of a new folder, and why there is none."""
    stem = f"step-{step:08d}"
    names = itertools.chain([f"{stem}{SHARDS}"], (f"{stem}-{again}{SHARDS}" for again in itertools.count(2)))
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        check_room(folder, size)
        path = next(path for path in map(folder.joinpath, names) if not path.exists())
        path.mkdir(mode=0o700)
    except OSError as error:
        return "", error.strerror or str(error)
    return path.name, ""


def _own_files(path: Path, rank: int) -> list[tuple[str, str, int]]:
    """Name, checksum and bytes of the files that this rank has written. Raises OSError."""
    files = sorted(path.glob(f"__{rank}_*"))
    if rank == 0:
        files.append(path / _METADATA)
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    return [(file.name, sha256(file), file.stat().st_size) for file in files]


def _cause(error: CheckpointException) -> str:
    """The first failure of any rank, in words."""
    for rank, (failure, _) in sorted(error.failures.items()):
        why = failure.strerror if isinstance(failure, OSError) and failure.strerror else str(failure)
        return f"rank {rank}: {why.partition(chr(10))[0] or type(failure).__name__}"
    return "torch.distributed.checkpoint failed"


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return own_part(value).nbytes
    return sum(map(_bytes, value.values())) if isinstance(value, dict) else 0


class _TensorMetadataUnpickler(pickle.Unpickler):
    """Reads metadata of tensors; nothing else in a file is loaded, and no code of it runs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _METADATA_TYPES and not (module == "torch" and _is_dtype(name)):
            raise pickle.UnpicklingError(f"{module}.{name} does not belong into a checkpoint")
        return super().find_class(module, name)


def _is_dtype(name: str) -> bool:
    return isinstance(getattr(torch, name, None), torch.dtype)


class _Reader(FileSystemReader):
    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with (Path(self.path) / _METADATA).open("rb") as file:
            metadata: Metadata = _TensorMetadataUnpickler(file).load()
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


def outline(folder: Path) -> dict[tuple[str, ...], tuple[torch.Size, torch.dtype]]:
    """Shape and type of each tensor, by its path of keys. Raises BadInput."""
    try:
        metadata = _Reader(folder).read_metadata()
        paths = metadata.planner_data or {}
        return {
            tuple(map(str, paths.get(key, (key,)))): (stored.size, stored.properties.dtype)
            for key, stored in metadata.state_dict_metadata.items()
            if isinstance(stored, TensorStorageMetadata)
        }
    except Exception as error:  # noqa: BLE001 - a damaged file raises anything
        raise BadInput(f"{folder} is no sharded checkpoint: {plain(str(error), 200)}") from None


def load_into(folder: Path, tensors: Tensors, *, alone: bool = False) -> None:
    """Fill `tensors`, which may be divided among another number of ranks than wrote them.

    All ranks call it, unless a process does so `alone`. Raises BadInput and RankLostError.
    """
    try:
        with collective_errors(), warnings.catch_warnings():
            # That a process loads alone is intended.
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            state_dict_loader.load(tensors, storage_reader=_Reader(folder), no_dist=alone)
    except CheckpointException as error:
        raise BadInput(f"{folder} does not fit: {plain(_cause(error), 300)}") from None


def read_whole(folder: Path, device: str = "cpu") -> Tensors:
    """All tensors of a folder. `device`: ``cpu``, or ``meta`` for their shapes alone. Raises BadInput."""
    found: Tensors = {}
    for path, (size, dtype) in outline(folder).items():
        inner = found
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = torch.empty(size, dtype=dtype, device=device)
    if device != "meta":
        load_into(folder, found, alone=True)
    return found


def with_tensors(state: dict[str, Any], folder: Path, device: str = "cpu") -> dict[str, Any]:
    """The content of a checkpoint as if it had been written as one file. Raises BadInput."""
    found = read_whole(folder, device)
    optimizer = {"param_groups": state["optimizer"]["param_groups"], "state": _by_number(found.get("optimizer", {}))}
    content = {name: value for name, value in state.items() if name != "shards"}
    return {**content, "model": found["model"], "ema": found.get("ema"), "optimizer": optimizer}


def _by_number(states: Tensors) -> dict[int, Any]:
    return {int(number): values for number, values in states.items()}
