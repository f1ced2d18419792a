"""The documented Slurm job script, run as it is; the programs that it starts write down that they were started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import State, Status

DOCS = Path(__file__).parents[3] / "docs"
JOB = DOCS / "slurm" / "job.sh"
PROGRAMS = {
    "srun": 'exec "$@"',
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
        done = subprocess.run([str(JOB)], env=environment, check=False)
        return done.returncode, said.read_text().splitlines()

    return run


def named(name: str) -> None:
    status = Status(state=State.FINISHED, started=0, heartbeat=0, pid=1, pid_started=0, boot_id="", name=name)
    run_directory.create(name).write_status(status)


def test_a_run_is_begun_once_and_then_gone_on_with(script: Callable[[int], tuple[int, list[str]]]) -> None:
    named("job-77")
    code, said = script(75)
    assert said[0].startswith("train --recipe")
    assert "name=job-7 --plain" in said[0]
    assert (code, said[1:]) == (75, ["scontrol requeue 7"])
    named("job-7")
    assert script(75) == (75, ["resume job-7 --plain", "scontrol requeue 7"])
    # Finished, still running, a setting that is refused: nothing of that is a reason to begin another one.
    assert script(2) == (2, ["resume job-7 --plain"])
    assert script(0) == (0, ["resume job-7 --plain"])


def test_the_guide_shows_the_script_as_it_is() -> None:
    text = JOB.read_text()
    # sbatch takes a file that begins with an interpreter, and reads #SBATCH only before the first command.
    assert text.startswith("#!/bin/bash\n#SBATCH ")
    assert JOB.stat().st_mode & 0o111
    guide = (DOCS / "guide" / "remote-and-slurm.md").read_text()
    assert [block.partition("\n")[2] for block in guide.split("```") if "#SBATCH" in block] == [text]
