"""``gputrain-tui train --slurm`` on a real Slurm: queued, run, ended by the time limit and requeued, stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import slurm
from fakes.images import dark_and_light
from fakes.slurm import Slurm

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.events import AnyEvent, ModelReady, RunEnded, RunStarted, Steps
from gputrain.engine.runs import event_log, run_directory
from gputrain.engine.runs.run_directory import RunDir

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1500),
    pytest.mark.xdist_group("slurm"),
    pytest.mark.skipif(bool(slurm.why_impossible()), reason=slurm.why_impossible() or "possible"),
]
COMMAND = [sys.executable, "-m", "gputrain.tui.cli"]
SMALL = ("image_size=32", "val_resize=32", "batch_size=4", "width=4", "precision=fp32", "num_workers=0", "val_split=")
TWO_RANKS = "nodes=1,ntasks-per-node=2,cpus-per-task=1,mem=3000"
UNHURRIED = (
    "device=cpu", "model=simple_cnn", "image_size=32", "val_resize=32", "width=4", "precision=fp32", "num_workers=0",
    "checkpoint_epochs=0",
)  # fmt: skip
SLOW_DATA = """
import time

import torch
from torch.utils.data import Dataset


class Slow(Dataset):
    classes = 2

    def __len__(self):
        return 40

    def __getitem__(self, index):
        time.sleep(0.4)
        return torch.full((3, 32, 32), index / 40), index % 2


def dataset(data_dir):
    return Slow()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    with slurm.running_slurm() as running:
        yield running


@pytest.fixture(autouse=True)
def in_cluster(cluster: Slurm, private_homes: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith(("SLURM", "SBATCH", "SRUN")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", cluster.environ["SLURM_CONF"])
    monkeypatch.setenv("PATH", cluster.environ["PATH"])
    yield
    # No job of one test holds the node in the next.
    for number in cluster.run("squeue", "-h", "-o", "%i").split():
        cluster.run("scancel", number)
    deadline = time.monotonic() + 60
    while cluster.run("squeue", "-h", "-o", "%i").split():
        assert time.monotonic() < deadline, cluster.logs()
        time.sleep(0.5)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dark_and_light(tmp_path_factory.mktemp("data") / "images", 16)


def command(*words: str, code: int = 0) -> str:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, (done.stdout[-2000:], done.stderr[-2000:], log())
    return done.stdout + done.stderr


def log() -> str:
    return "".join(
        file.read_text()[-2000:] for run in run_directory.directories() for file in run.directory.glob("slurm.log")
    )


def submitted(options: str, *words: str) -> tuple[RunDir, int]:
    command("train", "--slurm", options, *words, "--detach")
    run = run_directory.find("last")
    return run, int(json.loads((run.directory / "slurm.json").read_text())["number"])


def listed() -> dict[str, Any]:
    """The newest run in the list."""
    found: dict[str, Any] = json.loads(command("runs", "--json").splitlines()[0])
    return found


def until_listed(state: str, reason: str = "") -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while not ((row := listed())["state"] == state and reason in row["reason"]):
        assert time.monotonic() < deadline, (row, log())
        time.sleep(0.5)
    return row


def until_steps(run: RunDir) -> None:
    deadline = time.monotonic() + 240
    while not (run.events.exists() and record(run, Steps)):
        assert time.monotonic() < deadline, log()
        time.sleep(0.5)


def record(run: RunDir, kind: type[AnyEvent]) -> list[Any]:
    return [event for event in event_log.read(run.events) if isinstance(event, kind)]


def test_it_waits_with_the_reason_and_runs(cluster: Slurm, images: Path) -> None:
    # The whole node is taken.
    blocker = cluster.submit("--cpus-per-task=2", "--time=5", "--output=/dev/null", "--wrap", "sleep 120")
    cluster.wait(blocker, "RUNNING", seconds=60)
    run, number = submitted(f"{TWO_RANKS},time=10", "--data", str(images), *SMALL, "epochs=2")
    row = until_listed("queued", "Resources")
    assert row["reason"] == f"Slurm job {number}: Resources"
    assert row["run"] == run.id
    tail = subprocess.Popen(
        [*COMMAND, "tail", "last", "--plain"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert tail.stdout is not None
    lines = [tail.stdout.readline()]
    while f"queued: Slurm job {number}: Resources" not in lines[-1]:
        assert lines[-1], lines
        lines.append(tail.stdout.readline())
    cluster.run("scancel", str(blocker))
    rest = tail.communicate(timeout=300)[0]
    assert tail.returncode == 0, (rest, log())
    assert "finished: all steps are done" in rest
    assert cluster.wait(number, "COMPLETED", "FAILED", seconds=60)["ExitCode"] == "0:0", log()
    (ready,) = record(run, ModelReady)
    assert ready.ranks == 2
    # 4 images × 2 ranks: 4 steps an epoch, each once.
    assert sum(event.window_steps for event in record(run, Steps)) == 2 * 4
    (started,) = record(run, RunStarted)
    assert started.usable_cores == 1
    assert until_listed("finished")["step"] == 8


def test_its_time_limit_ends_it_again_and_again_and_each_step_is_done_once(cluster: Slurm, tmp_path: Path) -> None:
    """A step takes at least 0.8 s here: 220 steps take more than twice the 90 s before the last signal."""
    (tmp_path / "slow_data.py").write_text(SLOW_DATA)
    words = ("--recipe", "custom", f"code_dir={tmp_path}", "custom=slow_data:dataset", "batch_size=2", *UNHURRIED)
    run, number = submitted(f"{TWO_RANKS},time=2", *words, "epochs=22")
    found = cluster.wait(number, "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", seconds=1200)
    assert (found["JobState"], found["ExitCode"]) == ("COMPLETED", "0:0"), log()
    assert int(found["Restarts"]) >= 2, log()
    ended = record(run, RunEnded)
    assert [event.preempted for event in ended] == [True] * int(found["Restarts"]) + [False], log()
    # Each start goes on where the one before ended.
    assert [event.start_step for event in record(run, ModelReady)] == [0, *(event.step for event in ended[:-1])]
    assert sum(event.window_steps for event in record(run, Steps)) == ended[-1].step == 220
    assert listed()["state"] == "finished"


def test_a_preempted_job_goes_on_where_it_was(cluster: Slurm, images: Path) -> None:
    run, number = submitted(f"{TWO_RANKS},time=20", "--data", str(images), *SMALL, "epochs=600", "checkpoint_epochs=0")
    until_steps(run)
    urgent = cluster.submit(
        "--partition=urgent", "--cpus-per-task=2", "--time=5", "--output=/dev/null", "--wrap", "sleep 9"
    )
    row = until_listed("queued")
    assert row["reason"].startswith(f"Slurm job {number}: ")
    (ended,) = record(run, RunEnded)
    assert ended.preempted, log()
    assert 0 < ended.step < 600 * 4
    cluster.wait(urgent, "COMPLETED", seconds=120)
    found = cluster.wait(number, "COMPLETED", "FAILED", "CANCELLED", seconds=600)
    assert (found["JobState"], found["ExitCode"]) == ("COMPLETED", "0:0"), log()
    assert [event.start_step for event in record(run, ModelReady)] == [0, ended.step]
    assert sum(event.window_steps for event in record(run, Steps)) == 600 * 4


def test_stop_of_a_queued_and_of_a_running_job(cluster: Slurm, images: Path) -> None:
    running, number = submitted(f"{TWO_RANKS},time=10", "--data", str(images), *SMALL, "epochs=100000")
    queued, other = submitted(f"{TWO_RANKS},time=10", "--data", str(images), *SMALL, "epochs=1")
    assert f"{queued.id} waits for Slurm job {other}: " in command("resume", queued.id, code=2)
    text = command("stop", queued.id)
    assert f"{queued.id}: stopped at step 0: Slurm job {other} was cancelled before the run started" in text
    assert cluster.job(other)["JobState"] == "CANCELLED"
    assert listed()["state"] == "stopped"
    until_steps(running)
    rows = [json.loads(line) for line in command("runs", "--json").splitlines()]
    node = cluster.job(number)["NodeList"]
    assert (rows[1]["state"], rows[1]["reason"]) == ("running", f"Slurm job {number} on {node}")
    assert f"{running.id}: stopped at step " in command("stop", running.id)
    (ended,) = record(running, RunEnded)
    entry = checkpoint_index.find(running.checkpoints, "last")
    assert (entry.step, checkpoint_index.matches_checksum(running.checkpoints, entry)) == (ended.step, True)
    # It is not requeued.
    found = cluster.wait(number, "COMPLETED", "FAILED", "PENDING", seconds=120)
    assert (found["JobState"], found["ExitCode"], found["Restarts"]) == ("FAILED", "3:0", "0"), log()


def test_a_job_that_ends_before_the_run_is_named(cluster: Slurm, images: Path) -> None:
    run, number = submitted(f"{TWO_RANKS},time=10", "--data", str(images), *SMALL, "epochs=1")
    cluster.run("scancel", str(number))
    row = until_listed("stopped")
    assert row["reason"] == f"Slurm job {number} was cancelled before the run started"
    command("tail", run.id, "--plain", code=3)
    # A settings file that was broken meanwhile: the run fails at its start.
    blocker = cluster.submit("--cpus-per-task=2", "--time=5", "--output=/dev/null", "--wrap", "sleep 120")
    cluster.wait(blocker, "RUNNING", seconds=60)
    run, number = submitted(f"{TWO_RANKS},time=10", "--data", str(images), *SMALL, "epochs=1")
    run.config.write_text("epochs: many\n")
    cluster.run("scancel", str(blocker))
    row = until_listed("failed")
    assert row["reason"].startswith(f"Slurm job {number} ended before the run started: FAILED"), row
    assert "epochs" in row["reason"]
    command("tail", run.id, "--plain", code=1)


def test_what_slurm_refuses_leaves_nothing(cluster: Slurm, images: Path) -> None:
    words = ("--data", str(images), *SMALL, "epochs=1", "--detach")
    text = command("train", "--slurm", "partition=gpu,cpus-per-task=1", *words, code=2)
    assert "--slurm: there is no partition 'gpu' (all: main, urgent)" in text
    text = command("train", "--slurm", "gpus-per-node=2,cpus-per-task=1", *words, code=2)
    assert "gpus-per-node is 2, and a node of the default partition has none" in text
    text = command("train", "--slurm", "nodes=1,cpus-per-task=64", *words, code=2)
    assert "1 × cpus-per-task=64 need 64 cores, and a node has 2" in text
    text = command("train", "--slurm", "reservation=nobodys,cpus-per-task=1", *words, code=2)
    assert "--slurm: nothing was submitted: sbatch: error: " in text
    assert run_directory.directories() == []
    # Cores that are not given are those of the node, divided among its ranks.
    text = command("train", "--slurm", "ntasks-per-node=2", *words[:-1], "--dry-run")
    assert "#SBATCH --cpus-per-task=1\n" in text
    assert "planned for a Slurm job of 2 ranks: no GPU, 2 cores, " in text
    assert run_directory.directories() == []
    assert cluster.run("squeue", "-h", "-o", "%i") == ""
