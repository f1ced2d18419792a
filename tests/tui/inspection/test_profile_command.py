"""`gputrain-tui profile` on real runs: of ours, paused and ended, and of a script, whose steps stay the same."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.scripts.watched import EXEC, MAIN, TRAIN, run, script
from helpers.tui.live_run import live_run
from helpers.tui.terminals import COMMAND

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    with live_run(tmp_path_factory.mktemp("live")) as (name, env):
        yield name, {**os.environ, **env}


def command(live: tuple[str, dict[str, str]], *words: str) -> subprocess.CompletedProcess[str]:
    name, env = live
    return subprocess.run([*COMMAND, words[0], name, *words[1:]], env=env, capture_output=True, text=True, timeout=240)


def traced(live: tuple[str, dict[str, str]], *words: str) -> dict[str, Any]:
    done = command(live, "profile", "--json", *words)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_running_training_is_traced_without_a_restart(live: tuple[str, dict[str, str]]) -> None:
    answer = traced(live, "--steps", "2")
    assert answer["verdict"] == "done"
    # An epoch of three steps may end before.
    assert answer["steps"] in (1, 2)
    found = answer["summary"]
    assert len(found["operators"]) == 10
    assert {"aten::convolution_backward"} <= {one["name"] for one in found["operators"]}
    assert found["kernels"] + found.get("copies", 0) + found["data"] + found["gaps"] == pytest.approx(1)
    assert found["data"] > 0
    trace = json.loads(gzip.decompress(Path(answer["file"]).read_bytes()))
    assert any(event["name"] == "gputrain: wait for data" for event in trace["traceEvents"] if "name" in event)
    assert Path(answer["file"]).stat().st_size == answer["size"]


def test_the_text_has_a_bar_each_and_the_way_to_open_it(live: tuple[str, dict[str, str]]) -> None:
    done = command(live, "profile", "--steps", "1")
    assert done.returncode == 0, done.stderr
    assert "profile: recording 1 step\n" in done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("%")] == ["operators", "copies", "Python", "data"]
    assert sum(" ms " in line and "█" in line for line in lines) >= 1
    assert lines[-1].startswith("open it: xdg-open https://ui.perfetto.dev")


def test_the_stacks_of_a_running_training(live: tuple[str, dict[str, str]]) -> None:
    done = command(live, "stacks", "--json")
    assert done.returncode == 0, done.stderr
    taken = json.loads(done.stdout)
    assert [one["role"] for one in taken["processes"]] == ["trainer"]
    assert any("trainer_main.py" in frame for stack in taken["stacks"] for frame in stack["frames"])


SLOW = TRAIN.replace(
    "def after_step(count):\n    pass", "def after_step(count):\n    import time\n    time.sleep(0.05)"
)


def test_a_script_is_traced_and_computes_the_same(private_homes: Path) -> None:
    path = script(private_homes, SLOW.replace("range(3)", "range(int(sys.argv[3]))") + MAIN)
    bare = run([sys.executable, str(path), "0", "x", "8"], cwd=private_homes)
    env = dict(os.environ)
    watched = subprocess.Popen(
        [*EXEC, "--name", "mine", "--plain", "--", sys.executable, str(path), "0", "x", "8"],
        cwd=private_homes,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    with watched:
        assert watched.stdout is not None
        for line in watched.stdout:
            if "step" in line and "samples/s" in line:
                break
        answer = traced(("mine", env), "--steps", "5")
        rest = watched.stdout.read()
    assert watched.returncode == 0
    assert answer["steps"] == 5
    found = answer["summary"]
    assert "aten::addmm" in {one["name"] for one in found["operators"]}
    assert found["data"] > 0
    at = next(number for number, text in enumerate(SLOW.splitlines(), 1) if "loss.item()" in text)
    points = [(one["line"], one["call"], one["count"]) for one in found["sync_points"]]
    assert (f"my_train.py:{at}", ".item()", 5) in points
    assert bare.stdout.strip() in rest
