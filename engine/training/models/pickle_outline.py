"""Outline of a torch file: its dictionaries and the names of its classes; nothing is imported or called."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any, Self

_LEGACY_PICKLES = 4
"""In torch's format before zip files: magic number, version, system, content."""
_MAX_PICKLE = 1 << 28
"""Bytes; the pickle of a torch file has names and shapes only, the tensors are stored next to it."""


class Foreign(dict[Any, Any]):
    """Takes the place of an object or function in a pickle; keeps the items and the attributes that it gets."""

    path = ""
    """Module and name of the class."""

    attributes: dict[Any, Any]

    def __new__(cls, *_arguments: Any, **_named: Any) -> Self:
        """The arguments are dropped. Not in `__init__`, which pickle does not always call."""
        found = super().__new__(cls)
        found.attributes = {}
        return found

    def __init__(self, *_arguments: Any, **_named: Any) -> None:
        super().__init__()

    def __hash__(self) -> int:  # type: ignore[override]  # may be a key
        return id(self)

    def __setstate__(self, state: Any) -> None:
        # Objects with slots have a pair.
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            if isinstance(part, dict):
                self.attributes.update(part)

    def append(self, _value: Any) -> None:
        """As a subclass of list."""

    def extend(self, _values: Any) -> None:
        """As a subclass of list."""

    def add(self, _value: Any) -> None:
        """As a subclass of set."""

    @property
    def is_module(self) -> bool:
        """Whether the object has the attributes of a ``torch.nn.Module``."""
        return "_modules" in self.attributes and "_parameters" in self.attributes


class _Outliner(pickle.Unpickler):
    """Never imports a class: each is replaced by a new, inert one."""

    def find_class(self, module: str, name: str) -> Any:
        """See `pickle.Unpickler`."""
        return type("_Foreign", (Foreign,), {"path": f"{module}.{name}"})

    def persistent_load(self, reference: Any) -> Any:
        """See `pickle.Unpickler`: the place of a tensor's values, or in the legacy format a class with its source."""
        return reference[1] if isinstance(reference, tuple) and reference[:1] == ("module",) else None


def outline(path: Path) -> Any:
    """The content of a torch file with `Foreign` for all objects; None if it can't be read."""
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                return _last_pickle(file)
        with zipfile.ZipFile(path) as archive:
            info = next(one for one in archive.infolist() if one.filename.endswith("/data.pkl"))
            return _Outliner(io.BytesIO(archive.read(info))).load() if info.file_size <= _MAX_PICKLE else None
    except Exception:  # noqa: BLE001 - a damaged file raises any error
        return None


def _last_pickle(file: IO[bytes]) -> Any:
    for _ in range(_LEGACY_PICKLES - 1):
        _Outliner(file).load()
    return _Outliner(file).load()


def module_key(content: Any, preferred: tuple[str, ...]) -> str | None:
    """Where a ``torch.nn.Module`` stands in an outline: "" at its top, else its key; None if there is none."""
    if not isinstance(content, dict):
        return None
    if isinstance(content, Foreign) and content.is_module:
        return ""
    keys = [key for key, value in content.items() if isinstance(value, Foreign) and value.is_module]
    named = [key for key in keys if isinstance(key, str)]
    return next((key for key in preferred if key in named), named[0] if named else None)
