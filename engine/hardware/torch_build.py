"""Versions of the installed torch and torchvision, read without importing them."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

from msgspec import Struct

from gputrain.engine.common.sanitize import plain


class TorchBuild(Struct, frozen=True, kw_only=True):
    """The installed torch and torchvision."""

    version: str
    """``2.15.0+cu132``."""
    cuda: str
    """CUDA version of the build; empty for a build without CUDA (CPU-only wheel, ROCm)."""
    torchvision: str = ""
    """Version; empty where it is not installed."""


def read_torch_build() -> TorchBuild | None:
    """The installed versions, read in some milliseconds; None without torch."""
    torch = _version_file("torch")
    if torch is None:
        return None
    vision = _version_file("torchvision") or {}
    return TorchBuild(
        version=plain(str(torch.get("__version__") or "unknown"), 60),
        cuda=plain(str(torch.get("cuda") or ""), 20),
        torchvision=plain(str(vision.get("__version__") or ""), 60),
    )


def _version_file(package: str) -> dict[str, Any] | None:
    """The constants in a package's ``version.py``; None without the package or the file."""
    try:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            return None
        tree = ast.parse(Path(spec.origin).with_name("version.py").read_text(encoding="utf-8"))
    except (ImportError, OSError, SyntaxError, ValueError):
        return None
    found: dict[str, Any] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, ast.Constant):
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name):
                found[target.id] = node.value.value
    return found


def needed_torch() -> str:
    """The installed torchvision's requirement for torch (``==2.9.1``); empty where it has none."""
    # Imported here, because importing the email package for the metadata takes 60 ms.
    import importlib.metadata

    try:
        needed = importlib.metadata.requires("torchvision") or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    for entry in needed:
        match = re.fullmatch(r"torch\s*\(?([^;()\[\]]*)\)?", entry.strip())
        if match:
            return plain(match[1].replace(" ", ""), 60)
    return ""
