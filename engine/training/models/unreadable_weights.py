"""Says why a file of weights cannot be read, from its bytes and the outline of its pickle: nothing in it is run."""

from __future__ import annotations

import zipfile
from pathlib import Path

from gputrain.engine.common.sanitize import plain
from gputrain.engine.training.models.pickle_outline import module_key, outline

_HTML = (b"<!doctype", b"<html", b"<head", b"<!--", b"<?xml")
_LFS = b"version https://git-lfs"
_ZIP = b"PK\x03\x04"
_NAMED = 5
"""Types that a message names."""
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First pickle of torch's format before zip files: a magic number."""


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


def blocked(path: Path, types: list[str], keys: tuple[str, ...]) -> str:
    """The fault of a file with objects of `types`, which are not loaded, and the remedy.

    `keys`: the usual keys of a state dict, the best first.
    """
    more = f" and {len(types) - _NAMED} more" if len(types) > _NAMED else ""
    names = plain(", ".join(types[:_NAMED]) + more, 300)
    content = outline(path)
    key = module_key(content, keys)
    if key is not None:
        place = f"[{_quoted(key)}]" if key else ""
        what = f"has a whole pickled model in its key {_quoted(key)}, with" if key else "is a whole pickled model with"
        return (
            f"{what} objects of {names}, which could run code and are not loaded; if you trust the file, save its "
            "state dict alone, where its class can be imported: "
            f"torch.save(torch.load(FILE, weights_only=False){place}.state_dict(), 'weights.pth')"
        )
    inner = content if isinstance(content, dict) else {}
    found = next((one for one in keys if isinstance(inner.get(one), dict)), None)
    loaded = "torch.load(FILE, weights_only=False)"
    saved = f"{loaded}[{_quoted(found)}]" if found else f"{{k: v for k, v in {loaded}.items() if hasattr(v, 'shape')}}"
    return (
        f"contains objects of {names}, which could run code and are not loaded; "
        f"if you trust the file, save its state dict alone: torch.save({saved}, 'weights.pth')"
    )


def _quoted(key: str) -> str:
    return f"'{plain(key, 40)}'"
