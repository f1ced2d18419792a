"""Calls a function right after a named module was imported, without changing who imports it or how.

`sys.meta_path` gets one finder. For the named modules it asks the other finders for the module's spec and wraps
``exec_module`` of that loader's instance, so that the loader keeps its type and its other methods.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .page import Probe

Hook = Callable[[Any], None]


class Finder:
    """Stands in `sys.meta_path`."""

    def __init__(self, probe: Probe, hooks: dict[str, list[Hook]]) -> None:
        self._probe = probe
        self._hooks = hooks
        self._busy: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec that the other finders give, with a loader that calls the hooks; None for all other modules."""
        if name not in self._hooks or name in self._busy:
            return None
        self._busy.add(name)
        try:
            spec = self._others(name, path, target)
        finally:
            self._busy.discard(name)
        if spec is not None and spec.loader is not None:
            try:
                self._wrap(name, spec.loader)
            except Exception as error:  # noqa: BLE001 - a loader that can't be wrapped loads as it would have
                self._probe.failed(name, error)
        return spec

    def _others(self, name: str, path: Any, target: Any) -> Any:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec = find(name, path, target)
            if spec is not None:
                return spec
        return None

    def _wrap(self, name: str, loader: Any) -> None:
        load = loader.exec_module

        def exec_module(module: Any) -> None:
            load(module)
            self.run(name, module)

        loader.exec_module = exec_module

    def run(self, name: str, module: Any) -> None:
        """Call the hooks of `name`, each once."""
        for hook in self._hooks.pop(name, []):
            try:
                hook(module)
            except Exception as error:  # noqa: BLE001 - the script comes first
                self._probe.failed(name, error)


def finder_of(probe: Probe, hooks: dict[str, list[Hook]]) -> Finder:
    """What calls `hooks` after their modules are imported; for those that are there already they are called now."""
    finder = Finder(probe, dict(hooks))
    for name in list(hooks):
        module: Any | None = sys.modules.get(name)
        if module is not None:
            finder.run(name, module)
    return finder
