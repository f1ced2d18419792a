"""The map of the code is true: its files and packages exist, and none is missing."""

from __future__ import annotations

import re
import tomllib

import pytest
from helpers.docs import DOCS, REPOSITORY

PAGE = (DOCS / "architecture.md").read_text()
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text()
FILE = re.compile(r"`((?:engine|tui|profiles|tests|docs|\.ci)/[\w./-]*\w)/?`")


@pytest.mark.parametrize("text", [PAGE, CONTRIBUTING], ids=["architecture", "CONTRIBUTING"])
def test_every_file_that_is_named_exists(text: str) -> None:
    named = FILE.findall(text)
    assert named
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_every_package_has_a_phrase() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    packages = [name.removeprefix("gputrain.").replace(".", "/") for name in project["tool"]["setuptools"]["packages"]]
    rows = re.findall(r"^\| `([\w/]+)` \| [^|]+ \|$", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(set(packages) - {"engine"})


def test_behaviours_are_found_by_their_file() -> None:
    section = PAGE.partition("## Where do I change …")[2]
    rows = re.findall(r"^\| ([^|`]+(?:`[^`|]+`[^|]*)?) \| (`.+) \|$", section, re.MULTILINE)
    assert len(rows) >= 30
    assert len({behaviour for behaviour, _ in rows}) == len(rows)
    assert all(FILE.search(files) for _, files in rows)
