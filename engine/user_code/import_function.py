"""User code: imports ``package.module:function`` from the user's folder, calls it, and locates its errors."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain
from gputrain.engine.user_code import source_check


class _Finder:
    """Finds top-level modules in a folder, before installed packages but after the standard library.

    With the folder first on ``sys.path``, the user's ``queue.py`` or ``types.py`` would shadow Python's.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if path is not None or name in sys.stdlib_module_names:
            return None
        return PathFinder.find_spec(name, [self.folder], target)


def import_function(spec: str, folder: str, setting: str) -> Callable[..., Any]:
    """The callable that ``package.module:function`` names, from `folder` (empty: the run's working directory).

    Raises BadInput with `setting`, and the line of the user's code that failed.
    """
    home = files.expand_user(folder or ".").absolute()
    if not home.is_dir():
        raise BadInput(f"code_dir: {plain(str(home), 300)} is not a folder")
    module_name, _, attribute = spec.partition(":")
    if fault := source_check.malformed_spec(spec, setting):
        raise BadInput(fault)
    if not any(isinstance(finder, _Finder) and finder.folder == str(home) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(str(home)))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (error.name == module_name or module_name.startswith(f"{error.name}.")):
            raise BadInput(source_check.no_module(error.name, home, setting)) from None
        raise BadInput(user_error(setting, spec, error, home)) from error
    except Exception as error:
        raise BadInput(user_error(setting, spec, error, home)) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        known = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        what = "is not callable" if found is not None else "does not exist"
        raise BadInput(f"{setting}: {plain(spec, 100)} {what}{did_you_mean(attribute, known)}")
    return found  # type: ignore[no-any-return]


def call_user_function(function: Callable[..., Any], *arguments: Any, setting: str, spec: str, folder: str) -> Any:
    """The result of a user's function. Raises BadInput with the line that failed."""
    try:
        return function(*arguments)
    except Exception as error:
        raise BadInput(user_error(setting, spec, error, files.expand_user(folder or ".").absolute())) from error


def user_error(setting: str, spec: str, error: BaseException, folder: Path) -> str:
    """One line with the place and text of an error in user code; prints the whole traceback to the log."""
    traceback.print_exception(error)
    return f"{setting}: {plain(spec, 100)} failed {described(error, folder)}"


def described(error: BaseException, folder: Path) -> str:
    """``at nets.py:12 in build: ValueError: …``: the innermost frame in `folder`, else the innermost of all."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"at {_shown(error.filename, folder)}:{error.lineno}: {type(error).__name__}: {plain(error.msg, 300)}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(folder)] or frames
    text = f"{type(error).__name__}: {plain(str(error), 500)}"
    if not own:
        return f"with {text}"
    return f"at {_shown(own[-1].filename, folder)}:{own[-1].lineno} in {plain(own[-1].name, 60)}: {text}"


def _shown(path: str, folder: Path) -> str:
    inner = Path(path)
    return plain(str(inner.relative_to(folder) if inner.is_relative_to(folder) else inner), 300)
