"""Says why a file of weights cannot be read, from its bytes and its pickle opcodes: nothing in the file is run."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gputrain.engine.common.sanitize import plain

_HTML = (b"<!doctype", b"<html", b"<head", b"<!--", b"<?xml")
_LFS = b"version https://git-lfs"
_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First pickle of torch's format before zip files: a magic number."""
_LEGACY_PICKLES = 4
"""Magic number, version, system, content."""


def cause(path: Path) -> str:
    """What `path` is instead of a file of weights, and the remedy; empty if its bytes do not show it."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError:
        return ""
    if not start:
        return "is empty: download it again"
    if start.startswith(_LFS):
        return "is a Git LFS pointer, not the file itself: run `git lfs pull` in its repository"
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_HTML):
        return "is a web page (HTML or XML), not weights: download it again, from the link to the file itself"
    if start.startswith(_ZIP):
        return _cause_in_zip(path)
    if start.startswith(_LEGACY):
        return _misnamed(path)
    return ""


def is_whole_model(path: Path) -> bool:
    """Whether the content of a torch file is one pickled ``nn.Module``, as of ``torch.save(model, path)``."""
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                for _ in range(_LEGACY_PICKLES - 1):
                    for _ in pickletools.genops(file):
                        pass
                return _is_module(file)
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as file:
                return _is_module(file)
    except Exception:  # noqa: BLE001 - a damaged file raises any error
        return False


def _cause_in_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "is incomplete, the end of the file is missing: download it again"
    if any(name.endswith("/constants.pkl") for name in names):
        return (
            "is a TorchScript archive, not a state dict; save its state dict: "
            "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')"
        )
    if not any(name.endswith("/data.pkl") for name in names):
        return "is a zip archive that torch.save did not write: unpack it and give the file of weights in it"
    return _misnamed(path)


def _misnamed(path: Path) -> str:
    if path.suffix != ".safetensors":
        return ""
    return f"is a torch file, not a safetensors file: rename it to {plain(path.with_suffix('.pth').name, 120)}"


def _is_module(file: IO[bytes]) -> bool:
    """Whether the next pickle starts with a class (a dict starts with itself) and has the attributes of a module."""
    opcodes: Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]] = pickletools.genops(file)
    for opcode, argument, _ in opcodes:
        if opcode.name in ("EMPTY_DICT", "EMPTY_LIST") or argument == "collections OrderedDict":
            return False
        if opcode.name == "GLOBAL":
            break
    return any(argument == "_modules" for _, argument, _ in opcodes)
