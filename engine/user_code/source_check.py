"""Checks that a user's ``package.module:function`` exists, without running the code."""

from __future__ import annotations

import ast
import importlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from gputrain.engine.common import files
from gputrain.engine.common.errors import did_you_mean
from gputrain.engine.common.sanitize import plain

UNSET = "custom is not set; name the function that makes the data sets: custom=package.module:function"


def is_spec(name: str) -> bool:
    """Whether `name` has the form ``package.module:function``."""
    return ":" in name


def malformed_spec(spec: str, setting: str) -> str:
    """The error for a malformed `spec`; empty if it is well-formed."""
    module, _, function = spec.partition(":")
    if all(part.isidentifier() for part in (*module.split("."), function)):
        return ""
    return f"{setting}: '{plain(spec, 100)}' is not written as package.module:function"


def no_module(name: str, home: Path, setting: str) -> str:
    """The error for a missing module."""
    return (
        f"{setting}: there is no module '{plain(name, 100)}' in {plain(str(home), 300)}; "
        "code_dir names the folder that it is imported from"
    )


def why_no_function(spec: str, folder: str, setting: str) -> str:
    """Why `spec` cannot be imported from `folder` (empty: the working directory); empty if no fault is found."""
    home = files.expand_user(folder or ".").absolute()
    if not home.is_dir():
        return f"code_dir: {plain(str(home), 300)} is not a folder"
    if fault := malformed_spec(spec, setting):
        return fault
    module, _, function = spec.partition(":")
    first, *_ = parts = module.split(".")
    importlib.invalidate_caches()
    # In the order of imports: the standard library, the user's folder, installed packages.
    if first in sys.stdlib_module_names:
        return ""
    if PathFinder.find_spec(first, [str(home)]) is None:
        return "" if PathFinder.find_spec(first) is not None else no_module(first, home, setting)
    base = home.joinpath(*parts)
    source = next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)
    return _look(source, function, spec, setting) if source else ""


def _look(source: Path, function: str, spec: str, setting: str) -> str:
    try:
        tree = ast.parse(source.read_bytes())
    except SyntaxError as error:
        place = f"{plain(source.name, 100)}:{error.lineno}"
        return f"{setting}: {plain(spec, 100)} failed at {place}: {type(error).__name__}: {plain(error.msg, 300)}"
    except (OSError, ValueError, RecursionError):
        return ""
    names = _names(tree)
    if function in names or "*" in names or "__getattr__" in names:
        return ""
    return f"{setting}: {plain(spec, 100)} does not exist{did_you_mean(function, names)}"


def _names(tree: ast.Module) -> set[str]:
    """All names that the module binds, at any depth."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name.partition(".")[0])
    return found
