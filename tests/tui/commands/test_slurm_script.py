"""docs/slurm/job.sh with stand-ins for Slurm's programs, which log what was started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import State, Status

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "docs" / "slurm" / "job.sh"
PROGRAMS = {
    "srun": 'shift; exec "$@"',  # after --ntasks=1
    "scontrol": 'echo "scontrol $*" >> "$SAID"',
    "gputrain-tui": '[ "$1" != runs ] || exec "$PYTHON" -m gputrain.tui.cli "$@"; echo "$*" >> "$SAID"; exit $CODE',
}


@pytest.fixture
def script(private_homes: Path) -> Callable[[int], tuple[int, list[str]]]:
    """Runs the script where training ends with a code; gives its own code and what was started."""
    programs = private_homes / "bin"
    programs.mkdir()
    for name, does in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o700)
    said = private_homes / "said"

    def run(code: int) -> tuple[int, list[str]]:
        said.write_text("")
        more = {"SAID": str(said), "CODE": str(code), "PYTHON": sys.executable, "SLURM_JOB_ID": "7"}
        environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", **more}
        done = subprocess.run([str(SCRIPT), "--recipe", "demo"], env=environment, check=False)
        return done.returncode, said.read_text().splitlines()

    return run


def named(name: str) -> None:
    status = Status(state=State.FINISHED, started=0, heartbeat=0, pid=1, pid_started=0, boot_id="", name=name)
    run_directory.create(name).write_status(status)


def test_a_run_is_begun_once_and_then_gone_on_with(script: Callable[[int], tuple[int, list[str]]]) -> None:
    named("job-77")
    code, said = script(75)
    assert said[0].startswith("train --recipe demo name=job-7")
    assert said[0].endswith(" --plain")
    assert (code, said[1:]) == (75, ["scontrol requeue 7"])
    named("job-7")
    assert script(75) == (75, ["resume job-7 --if-needed --plain", "scontrol requeue 7"])
    # SIGUSR1 before Python had started: nothing was lost.
    assert script(138) == (138, ["resume job-7 --if-needed --plain", "scontrol requeue 7"])
    # Finished, still running, a setting that is refused: nothing of that is a reason to begin another one.
    assert script(2) == (2, ["resume job-7 --if-needed --plain"])
    assert script(0) == (0, ["resume job-7 --if-needed --plain"])


def test_the_readme_shows_the_script() -> None:
    assert f"```sh\n{SCRIPT.read_text()}```" in (ROOT / "README.md").read_text()
    assert SCRIPT.read_text().startswith("#!/bin/sh\n")
