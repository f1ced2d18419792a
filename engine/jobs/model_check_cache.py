"""Keeps the results of model checks in the user's cache folder: the check starts a process that imports torch.

The key covers all that a result depends on: settings, the file of weights, libraries, and this program's own code.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import msgspec

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput

_KEPT = 200
"""Most results; older ones are deleted."""
_LIBRARIES = ("torch", "torchvision", "timm", "safetensors", "tensorflow", "keras", "numpy")
_ENGINE = Path(__file__).parent.parent
_CODE = ("training/models", "training/networks", "keras", "jobs", "configuration", "model_catalog", "common")
"""Folders whose code makes the results."""

Result = TypeVar("Result", bound=msgspec.Struct)


def key(order: bytes, weights: str) -> str:
    """The name of the result of `order` for the present content of the file of weights."""
    digest = hashlib.sha256(order)
    path = files.expand_user(weights)
    # timm writes a config.json next to its weights.
    for file in (path, path.parent / "config.json") if weights else ():
        digest.update(_status(file))
    digest.update(_program())
    return digest.hexdigest()[:40]


def _status(path: Path) -> bytes:
    """What changes with the content of a file: a copy that keeps the times is another inode, and has another ctime."""
    try:
        found = os.stat(path)  # noqa: PTH116 - one call
    except (OSError, ValueError):
        return b"-"
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino} {found.st_dev};".encode()


@functools.cache
def _program() -> bytes:
    digest = hashlib.sha256()
    for name in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            digest.update(f"{name} {version(name)};".encode())
    for folder in _CODE:
        for file in sorted((_ENGINE / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.digest()


def load(name: str, kind: type[Result]) -> Result | None:
    """The result called `name`; None if there is none, or it can't be read."""
    try:
        return msgspec.json.decode(_file(name).read_bytes(), type=kind)
    except (OSError, BadInput, msgspec.MsgspecError):
        return None


def save(name: str, result: msgspec.Struct) -> None:
    """Keep a result. Where that fails, the next check does the work again."""
    with contextlib.suppress(OSError, BadInput):
        file = _file(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(file, msgspec.json.encode(result))
        _prune(file.parent)


def _file(name: str) -> Path:
    return files.cache_home() / "model-checks" / f"{name}.json"


def _prune(folder: Path) -> None:
    found = sorted(folder.glob("*.json"), key=_age)
    for file in found[:-_KEPT]:
        file.unlink(missing_ok=True)


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
