"""Leaves out of a process what imports would load and a screen never uses."""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import ModuleType
from typing import Any

_TYPES = "textual.types"
_HASHES = (
    "_md5",
    "_sha1",
    "_sha3",
    "_blake2",
    *(("_sha2",) if sys.version_info >= (3, 12) else ("_sha256", "_sha512")),
)


def without_openssl() -> None:
    """Import asyncio, hashlib and hmac without OpenSSL, which takes 5 MiB of memory and 10 ms.

    For processes that only watch: asyncio then has no TLS, and hashlib no algorithms beyond Python's own. Importing ssl
    later works as ever. Does nothing where one of them was imported before, or where Python has no hashes of its own.
    """
    if not {"asyncio", "hashlib", "ssl"}.isdisjoint(sys.modules):
        return
    with contextlib.suppress(ImportError):
        for name in _HASHES:
            importlib.import_module(name)  # Python's own, which a distribution may leave out
        absent = ("ssl", "_hashlib")
        sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
        try:
            for name in ("asyncio", "hashlib", "hmac"):
                importlib.import_module(name)
        finally:
            for name in absent:
                del sys.modules[name]


class _Types(ModuleType):
    """Stands in for ``textual.types`` until a name of it is needed that only that module has."""

    def __getattr__(self, name: str) -> Any:
        if name == "IgnoreReturnCallbackType":
            return getattr(importlib.import_module("textual._types"), name)
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(_TYPES) is self:
            del sys.modules[_TYPES]
        return getattr(importlib.import_module(_TYPES), name)


def without_textual_types() -> None:
    """Keep Textual's command palette from importing four widgets, whose types it names in one module."""
    sys.modules.setdefault(_TYPES, _Types(_TYPES))
