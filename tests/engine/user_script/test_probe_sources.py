"""The probe's sources run on any Python from 3.9 on, with the standard library alone."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from gputrain.engine import probe

FOLDER = Path(probe.__file__).parent
SOURCES = sorted(FOLDER.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_grammar_is_that_of_an_old_python(path: Path) -> None:
    # What the interpreter imports by itself must be silent on any Python 3; `pytest -m versions` runs all of it.
    ast.parse(path.read_text(), feature_version=(3, 4) if path.parent.name == "inject" else (3, 9))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_but_the_standard_library_is_imported(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = {one.name.partition(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = {str(node.module).partition(".")[0]}
        else:
            continue
        assert names <= {*sys.stdlib_module_names, "_gputrain_probe"}
    if path.parent == FOLDER:
        # Annotations such as `int | None` are never evaluated before 3.10.
        assert path.name == "__init__.py" or "from __future__ import annotations" in path.read_text()
