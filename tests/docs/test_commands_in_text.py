"""Commands and settings in README and docs are those of the program: each command is parsed, each setting looked up."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from helpers.docs import DOCS, REPOSITORY

from gputrain.engine.configuration import settings
from gputrain.tui.cli.main import parser

GENERATED = {DOCS / "reference" / name for name in ("commands.md", "settings.md")}
PAGES = sorted({REPOSITORY / "README.md", *DOCS.rglob("*.md")} - GENERATED)
QUOTED = re.compile(r"`(gputrain-tui(?: [^`\n]*)?)`")
BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^(?:\$ )?(?:.*&& )?(?:\.venv/bin/)?(gputrain-tui(?: .*)?)$", re.MULTILINE)
SETTING = re.compile(r"(?<![\w/$&-])([a-z][a-z0-9_]+)=")
OTHER = {"workers", "name", "gpus", "cores", "ram", "images", "setting", "download", "weights_only"}
"""What stands before = and is no setting: parts of --machine, a placeholder, arguments of Python; `name` is both."""


def commands(text: str) -> list[list[str]]:
    """The words after gputrain-tui of each command, without comments, redirections, brackets and a user's command."""
    found = []
    lines = [line for block in BLOCK.findall(text) for line in LINE.findall(block.replace("\\\n", " "))]
    for shown in (*QUOTED.findall(BLOCK.sub("", text)), *lines):
        command = re.split(r" \| |; | #| && | -- ", " ".join(shown.split()))[0]
        # The one placeholder that is checked as a number.
        found.append(shlex.split(re.sub(r"[\[\]…]", "", command).replace("--pid PID", "--pid 1"))[1:])
    return found


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(REPOSITORY)) for page in PAGES])
def test_commands_are_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands(page.read_text()):
        try:
            options, rest = parser().parse_known_args(words)
        except SystemExit:
            pytest.fail(f"{shlex.join(words)}: {capsys.readouterr().err}")
        assert [word for word in rest if word.startswith("-")] == [], words
        for override in (*getattr(options, "overrides", ()), *rest):
            if "=" in override and override != "name=value":
                settings.parse_overrides([override])


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(REPOSITORY)) for page in PAGES])
def test_settings_exist(page: Path) -> None:
    text = " ".join(re.findall(r"`([^`\n]+)`", page.read_text()))
    names = set(SETTING.findall(text)) - OTHER
    assert sorted(names - settings.table().keys()) == []


def test_commands_are_found_and_a_wrong_one_is_not_understood() -> None:
    found = commands((REPOSITORY / "README.md").read_text())
    assert ["train", "--recipe", "demo", "--dry-run"] in found
    assert len(found) >= 8
    with pytest.raises(SystemExit):
        parser().parse_known_args(["trian", "--recipe", "demo"])
