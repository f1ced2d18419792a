"""Output to terminals and pipes with a limited character set: no errors, no characters they cannot show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from helpers.tui import scripted

from gputrain.engine.events import Notice, encode, stamp
from gputrain.engine.runs import run_directory
from gputrain.tui.render.charset import original, wants_ascii

COMMAND = [sys.executable, "-m", "gputrain.tui.cli"]


def environment(**changes: str) -> dict[str, str]:
    """This one without a locale, changed."""
    bare = {name: value for name, value in os.environ.items() if name not in ("LANG", "LC_ALL", "LC_CTYPE")}
    return {**bare, "TERM": "xterm-256color", **changes}


@pytest.fixture
def recorded(private_homes: Path) -> str:
    """A short run that is over and has printed a name in another script."""
    run = run_directory.create("recorded")
    events = scripted.whole_run(5)
    message = stamp(
        Notice(level="info", text="saved in /data/日本/ü"), events[-2].seq, events[-2].wall, events[-2].mono
    )
    run.events.write_bytes(b"".join(encode(event) + b"\n" for event in (*events[:-2], message, events[-1])))
    return run.id


def test_the_locale_decides_about_ascii() -> None:
    assert not wants_ascii({})
    assert not wants_ascii({"LANG": "de_DE.UTF-8"})
    assert not wants_ascii({"LANG": "C", "LC_ALL": "en_US.utf8"})
    assert wants_ascii({"LANG": "de_DE.UTF-8", "LC_ALL": "C"})
    assert wants_ascii({"LANG": "de_DE.ISO-8859-1"})
    assert wants_ascii({"LANG": "de_DE.UTF-8", "TERM": "linux"})
    assert not wants_ascii({"LANG": "C", "TEXTUAL_DRIVER": "textual.drivers.web_driver:WebDriver"})


def test_the_locale_is_the_one_before_python_changed_it() -> None:
    changed = {"LANG": "C", "LC_CTYPE": "C.UTF-8"}
    assert wants_ascii(original(changed, b"LANG=C\0TERM=xterm\0"))
    assert wants_ascii(original(changed, b"LC_CTYPE=de_DE.ISO-8859-1\0LANG=C\0"))
    assert not wants_ascii(original(changed, b"LANG=C\0LC_CTYPE=C.UTF-8\0"))
    assert not wants_ascii(original({"LC_CTYPE": "C.UTF-8"}, b"TERM=xterm\0"))


@pytest.mark.parametrize(
    ("locale", "ascii_only"),
    [({"LANG": "C"}, True), ({"LANG": "xx_XX.ISO-8859-1"}, True), ({}, False), ({"LANG": "xx_XX.UTF-8"}, False)],
)
def test_a_screen_in_its_terminal(recorded: str, locale: dict[str, str], ascii_only: bool) -> None:
    screen = pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], "tail", recorded], env=environment(**locale), dimensions=(50, 200), timeout=60
    )
    screen.expect_exact("The run has ended")
    sent = screen.before
    screen.send("q")
    screen.expect(pexpect.EOF)
    assert (sent + screen.before).isascii() == ascii_only


@pytest.mark.parametrize("charset", ["ascii", "latin-1"])
@pytest.mark.parametrize("arguments", [["--help"], ["settings"], ["tail", "last", "--plain"], ["runs"]])
def test_plain_lines_in_another_character_set(recorded: str, charset: str, arguments: list[str]) -> None:
    done = subprocess.run(
        [*COMMAND, *arguments], env=environment(PYTHONIOENCODING=charset), capture_output=True, check=True
    )
    assert done.stderr == b""
    if "--plain" in arguments:
        assert f"/data/????/{'ü' if charset == 'latin-1' else '?'}" in done.stdout.decode(charset)


def test_json_keeps_every_character(recorded: str) -> None:
    done = subprocess.run(
        [*COMMAND, "tail", recorded, "--json"],
        env=environment(PYTHONIOENCODING="ascii"),
        capture_output=True,
        check=True,
    )
    message = [json.loads(line) for line in done.stdout.decode("ascii").splitlines()]
    assert "saved in /data/日本/ü" in {event.get("text") for event in message}
