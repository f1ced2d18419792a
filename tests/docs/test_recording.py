"""The scripts that record pictures and sessions can be started, and wait for words that the program says."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.docs import DOCS, REPOSITORY

SCRIPTS = sorted(DOCS.glob("record_*.py"))
SOURCES = "\n".join(file.read_text() for part in ("engine", "tui") for file in (REPOSITORY / part).rglob("*.py"))
SETTING = " num_workers"
"""It follows the verb on the screen, and is no part of the text in the code."""


def words(script: Path) -> list[str]:
    """All texts that a script waits for."""
    calls = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.Call)]
    waits = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "wait_for"]
    values = [argument.value for call in waits for argument in call.args if isinstance(argument, ast.Constant)]
    return [value for value in values if isinstance(value, str)]


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_a_script_imports_what_there_is(script: Path, tmp_path: Path) -> None:
    code = f"import runpy; runpy.run_path({str(script)!r}, run_name='recorded')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["record_tuning", "record_ssh"])
def test_it_waits_for_words_of_the_program(name: str) -> None:
    found = words(DOCS / f"{name}.py")
    assert found
    assert [word for word in found if word.removesuffix(SETTING) not in SOURCES] == []
