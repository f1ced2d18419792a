"""The map of the code is true: its files and packages exist, and none is missing."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from helpers.docs import DOCS, REPOSITORY

PAGE = (DOCS / "architecture.md").read_text()
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
FILE = re.compile(r"`((?:engine|tui|profiles|tests|docs|\.ci)/[\w./-]*\w)/?`")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(REPOSITORY)) for page in PAGES])
def test_every_file_that_is_named_exists(page: Path) -> None:
    assert [name for name in FILE.findall(page.read_text()) if not (REPOSITORY / name).exists()] == []


def test_files_are_seen() -> None:
    named = FILE.findall(PAGE)
    assert len(named) > 100
    assert "engine/shared_loop/lr_schedule.py" in named


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
