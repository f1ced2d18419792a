"""What one rank of several finds on its node before the first step. Without torch; takes a second or two."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import socket
import tempfile
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import msgspec

from gputrain.engine import common
from gputrain.engine.common.remote_urls import is_path
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.hardware.torch_build import read_torch_build
from gputrain.engine.processes.rank_environment import RankInfo

MOST_NAMES = 2000
"""Names of the data folder that are compared; a whole data set would take minutes on a network file system."""
_ENGINE = Path(common.__path__[0]).parent


class RankFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One rank's view, to be compared with that of rank 0. Digests are the same where the contents are."""

    rank: int
    host: str
    world_size: int
    """Ranks that its launcher names."""
    code: str
    """Digest of the engine's source."""
    own_code: str
    """Digest of the user's source beside the custom data set or model; empty without one."""
    python: str
    """Version."""
    torch: str
    """Versions of torch and torchvision."""
    settings: str
    """Digest of the run's settings as this rank reads them."""
    data: str
    """Digest of the first names in the data folder; empty without one."""
    names: int
    """How many names, at most `MOST_NAMES`."""
    data_error: str
    """Why the data folder can't be read; empty if it can."""
    run_error: str
    """Why this rank can't write the run directory; empty if it can."""
    run_config: str
    """Digest of ``config.yaml`` in the run directory; empty if it isn't there."""
    gpu_error: str
    """Why this rank has no GPU; empty on a CPU, and if it has one."""
    gpu_used: int
    """Bytes of its GPU's memory that others use."""
    gpu_memory: int
    """Bytes of its GPU's memory; 0: unknown, or a CPU."""


def gather_facts(info: RankInfo, config: RunConfig, directory: Path) -> RankFacts:
    """The facts of this rank for a run with these settings in `directory`."""
    torch = read_torch_build()
    names, data, data_error = _data(config)
    gpu_error, used, memory = _gpu(info, config)
    return RankFacts(
        rank=info.rank,
        host=plain(socket.gethostname(), 80),
        world_size=info.count,
        code=_digest_of_files(sorted(_ENGINE.rglob("*.py")), _ENGINE),
        own_code=_own_code(config),
        python=platform.python_version(),
        torch=f"torch {torch.version}, torchvision {torch.torchvision or 'none'}" if torch else "no torch",
        settings=hashlib.sha256(msgspec.json.encode(config)).hexdigest(),
        data=data,
        names=names,
        data_error=data_error,
        run_error=_write_error(directory),
        run_config=_digest_of_files([directory / "config.yaml"], directory),
        gpu_error=gpu_error,
        gpu_used=used,
        gpu_memory=memory,
    )


def _own_code(config: RunConfig) -> str:
    folder = config.data.code_dir
    if not folder or not (config.data.custom or ":" in config.model.model):
        return ""
    with contextlib.suppress(OSError, RuntimeError):
        path = Path(folder).expanduser()
        return _digest_of_files(sorted(path.glob("*.py"))[:MOST_NAMES], path)
    return "unreadable"


def _digest_of_files(files: Iterable[Path], folder: Path) -> str:
    """Digest of names and contents; empty if no file can be read."""
    found, read = hashlib.sha256(), 0
    for file in files:
        with contextlib.suppress(OSError):
            content = file.read_bytes()
            found.update(f"{file.relative_to(folder)}\0{len(content)}\0".encode(errors="surrogateescape") + content)
            read += 1
    return found.hexdigest() if read else ""


def _data(config: RunConfig) -> tuple[int, str, str]:
    """Number and digest of the first names in the data folder, breadth first, and why it can't be read.

    Data by a URL or a name have no folder that ranks could compare.
    """
    if not config.data.data_dir or config.data.dataset == "demo" or not is_path(config.data.data_dir):
        return 0, "", ""
    found, count = hashlib.sha256(), 0
    try:
        root = Path(config.data.data_dir).expanduser()
        folders = deque([root])
        while folders and count < MOST_NAMES:
            with os.scandir(folder := folders.popleft()) as entries:
                listed = sorted((entry.name, entry.is_dir()) for entry in entries)
            for name, is_folder in listed[: MOST_NAMES - count]:
                found.update(f"{(folder / name).relative_to(root)}\0".encode(errors="surrogateescape"))
                count += 1
                if is_folder:
                    folders.append(folder / name)
    except (OSError, RuntimeError) as error:
        return count, "", plain(str(error), 200)
    return count, found.hexdigest(), ""


def _write_error(directory: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"written by the check of the nodes")
            file.flush()
    except OSError as error:
        return plain(error.strerror or str(error), 100)
    return ""


def _gpu(info: RankInfo, config: RunConfig) -> tuple[str, int, int]:
    """Why there is no GPU for this rank, bytes of its memory in use, and of its memory."""
    if config.device == "cpu":
        return "", 0, 0
    machine = inspect_machine()
    if not machine.gpus:
        return ("" if config.device == "auto" else machine.gpu_error or "no GPU"), 0, 0
    if info.local_rank >= len(machine.gpus):
        return f"{len(machine.gpus)} can be used on this node, and {info.local_rank + 1} ranks need one", 0, 0
    gpu = machine.gpus[info.local_rank]
    return "", gpu.memory_used, gpu.memory or 0
