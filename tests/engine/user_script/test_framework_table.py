"""The guide's table of frameworks says what `test_frameworks` proves."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from helpers.scripts.framework_scripts import PACKAGES

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "exec.md"
HEAD = ["framework", "steps", "samples", "validation", "wait", "scalars", "advice names"]


def _rows() -> list[list[str]]:
    table = GUIDE.read_text().partition("<!-- table: frameworks -->\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()]


def _row_of(package: str) -> list[str]:
    found = [row for row in _rows() if row[0].startswith(package)]
    assert len(found) == 1, f"{package} has {len(found)} rows"
    return found[0]


def test_the_table_has_its_head() -> None:
    assert _rows()[0] == HEAD
    assert {len(row) for row in _rows()[2:]} == {len(HEAD)}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_row_says_what_the_scripts_of_its_package_show(package: str) -> None:
    row, cases = dict(zip(HEAD, _row_of(package), strict=True)), PACKAGES[package][1].values()
    assert (row["steps"], row["samples"], row["wait"]) == ("exact", "exact", "known")
    assert row["validation"] == ("exact" if any(case.validation for case in cases) else "–")
    assert set(re.findall("`([^`]+)`", row["scalars"])) == {name for case in cases for name in case.scalars}


@pytest.mark.frameworks
@pytest.mark.parametrize("package", PACKAGES)
def test_the_version_is_the_one_that_was_tested(package: str) -> None:
    named = re.search(r"(\d+\.\d+)", _row_of(package)[0])
    assert named is not None
    assert metadata.version(package).startswith(named[1] + ".")
