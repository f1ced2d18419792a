"""``exec`` with commands that start Python in their own way: ``uv run``, and an executable made by PyInstaller."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.scripts.watched import EXEC, MAIN, TIMEOUT, TRAIN, run, script

from gputrain.engine.events import Notice, RunEnded, Steps
from gputrain.engine.runs import event_log, run_directory

pytestmark = pytest.mark.frameworks


def test_uv_run_is_watched_as_python_is(tmp_path: Path) -> None:
    path = script(tmp_path, TRAIN + MAIN)
    alone = run([sys.executable, str(path), "0", "no"])
    uv = [sys.executable, "-m", "uv", "run", "--no-project", "--offline", "--python", sys.executable]
    watched = run([*EXEC, "--raw", "--", *uv, str(path), "0", "no"])
    assert (watched.returncode, watched.stdout) == (0, alone.stdout)
    events = list(event_log.read(run_directory.find("last").events))
    # 200 numbers in batches of 7, three times.
    assert [one.step for one in events if isinstance(one, Steps)][-1] == 3 * 29


def test_uv_run_gives_the_code_of_its_script(tmp_path: Path) -> None:
    path = script(tmp_path, "raise SystemExit(7)\n")
    uv = [sys.executable, "-m", "uv", "run", "--no-project", "--offline", "--python", sys.executable]
    assert run([*EXEC, "--raw", "--", *uv, str(path)]).returncode == 7


def test_frozen_executable_runs_as_without_us(tmp_path: Path) -> None:
    """An executable of PyInstaller reads no PYTHONPATH: nothing can be injected."""
    path = script(tmp_path, "import sys\nprint('frozen', sys.argv[1:])\nraise SystemExit(5)\n", "tool.py")
    make = [sys.executable, "-m", "PyInstaller", "--onefile", "--log-level", "ERROR", str(path)]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True, timeout=TIMEOUT, env=dict(os.environ))
    watched = run([*EXEC, "--raw", "--", str(tmp_path / "dist" / "tool"), "one"])
    assert (watched.returncode, watched.stdout) == (5, "frozen ['one']\n")
    events = list(event_log.read(run_directory.find("last").events))
    assert isinstance(events[-1], RunEnded)
    assert not [one for one in events if isinstance(one, (Steps, Notice))]
