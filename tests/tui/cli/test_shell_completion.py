"""Completion of the command line, in the real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from gputrain.tui.cli.main import parser
from gputrain.tui.cli.shell_completion import SHELLS, shell_code

BIN = Path(sys.executable).parent
RUN = "20260102-030405-flowers"
SHELL_LINES = {
    "bash": ("bash", ["--norc", "--noprofile", "-i"], 'PS1="> "; eval "$(gputrain-tui completions bash)"'),
    "zsh": (
        "zsh",
        ["-f", "-i"],
        'PS1="> "; autoload -U compinit; compinit -u -D; eval "$(gputrain-tui completions zsh)"',
    ),
    "fish": ("fish", ["--no-config", "-i"], "gputrain-tui completions fish | source"),
}


@pytest.fixture
def complete(tmp_path: Path) -> Callable[[str], list[str]]:
    """What the program answers when a shell asks for completions of a line."""
    (tmp_path / "state" / "runs" / RUN).mkdir(parents=True)

    def ask(line: str) -> list[str]:
        answer = tmp_path / "answer"
        with answer.open("w") as file:
            # argcomplete writes to descriptor 8, and its errors to 9.
            command = f"exec 8>&1 9>&2; exec '{BIN}/gputrain-tui'"
            subprocess.run(["bash", "-c", command], env=_environment(tmp_path, line), stdout=file, check=True)
        return answer.read_text().split("\v")

    return ask


def _environment(folder: Path, line: str) -> dict[str, str]:
    ours = {"GPUTRAIN_HOME": str(folder / "state"), "COMP_LINE": line, "COMP_POINT": str(len(line.encode()))}
    return {**os.environ, **ours, "COMP_TYPE": "9", "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\v"}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("gputrain-tui tr", {"train "}),
        ("gputrain-tui train --rec", {"--recipe "}),
        ("gputrain-tui train --recipe resnet", {"resnet50-imagefolder "}),
        ("gputrain-tui train --preset ", {"conservative", "balanced", "aggressive"}),
        ("gputrain-tui train batch_s", {"batch_size="}),
        ("gputrain-tui train channels_last=", {"channels_last=true", "channels_last=false"}),
        ("gputrain-tui tail 2026", {f"{RUN} "}),
        ("gputrain-tui settings prefetch", {"prefetch_factor "}),
        ("gputrain-tui completions ", set(SHELLS)),
    ],
)
def test_values_are_offered(complete: Callable[[str], list[str]], line: str, offered: set[str]) -> None:
    """The completions of a line are those of the parser, of the catalog and of the run directory."""
    assert offered <= set(complete(line))


def test_every_run_argument_offers_runs() -> None:
    """No command that takes a run was forgotten."""
    from gputrain.tui.cli import shell_completion

    takes = [a for command in shell_completion._parsers(parser()) for a in command._actions if a.metavar == "RUN"]
    assert len(takes) >= 10
    assert all(shell_completion._completer(action) is shell_completion._runs for action in takes)


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_key_completes(tmp_path: Path, shell: str) -> None:
    """The tab key in a real shell completes a command and the name of a run."""
    program, arguments, setup = SHELL_LINES[shell]
    if not shutil.which(program):
        pytest.skip(f"needs {program}: run .ci/install-services")
    (tmp_path / "state" / "runs" / RUN).mkdir(parents=True)
    environment = {
        **os.environ,
        "GPUTRAIN_HOME": str(tmp_path / "state"),
        "HOME": str(tmp_path),
        "TERM": "xterm",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    screen = pexpect.spawn(program, arguments, env=environment, dimensions=(24, 200), encoding="utf-8", timeout=60)
    try:
        screen.send(f"{setup}; echo rea''dy\r")
        screen.expect("ready\r")
        screen.send("gputrain-tui diagn\t")
        screen.expect("diagnose")
        screen.send("2026\t")
        screen.expect("0102-030405-flowers")
    finally:
        screen.close(force=True)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shell_accepts_code(shell: str) -> None:
    """The shell's own check of syntax finds nothing."""
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}: run .ci/install-services")
    subprocess.run([shell, "-n"], input=shell_code(shell), text=True, check=True)
