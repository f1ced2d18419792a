"""docs/slurm/job.sh, as it is, on a real Slurm: preempted, requeued, finished; and jobs at their time limit."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import slurm
from fakes.images import dark_and_light
from fakes.slurm import Slurm
from helpers.tui.terminals import modes, on_terminal

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.events import ModelReady, Outcome, RunEnded, RunStarted, Steps
from gputrain.engine.runs import event_log, run_directory

SCRIPT = Path(__file__).parents[3] / "docs" / "slurm" / "job.sh"
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1500),
    pytest.mark.xdist_group("slurm"),
    pytest.mark.skipif(bool(slurm.why_impossible()), reason=slurm.why_impossible() or "possible"),
]
SMALL = (
    "device=cpu", "image_size=32", "val_resize=32", "batch_size=4", "width=4", "precision=fp32", "num_workers=1",
    "val_split=",
)  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    with slurm.running_slurm() as running:
        yield running


@pytest.fixture
def tracking_cluster() -> Iterator[Slurm]:
    """A cluster that kills whatever is left of a step as soon as its first process has left."""
    if why := slurm.why_no_cgroups():
        pytest.skip(why)
    with slurm.running_slurm("cgroup") as running:
        yield running


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return dark_and_light(tmp_path / "images", 16)


@pytest.fixture
def job(tmp_path: Path, private_homes: Path) -> tuple[list[str], dict[str, str]]:
    """The options of sbatch for this machine, and the environment of the job."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "gputrain-tui").write_text(f'#!/bin/sh\nexec {sys.executable} -m gputrain.tui.cli "$@"\n')
    (programs / "gputrain-tui").chmod(0o755)
    options = ["--cpus-per-task=2", "--mem=3000", f"--output={tmp_path}/output", f"--chdir={tmp_path}"]
    homes = {name: value for name, value in os.environ.items() if name.startswith("GPUTRAIN_")}
    return options, {**homes, "PATH": f"{programs}:{os.environ.get('PATH', '')}:/usr/sbin"}


def output(tmp_path: Path) -> str:
    return (tmp_path / "output").read_text() if (tmp_path / "output").exists() else ""


def test_the_script_is_requeued_and_finishes_with_every_step_once(
    cluster: Slurm, job: tuple[list[str], dict[str, str]], images: Path, tmp_path: Path
) -> None:
    options, environ = job
    words = (
        "--data",
        str(images),
        *SMALL,
        "epochs=40",
        "image_size=128",
        "val_resize=128",
        "width=16",
        "checkpoint_epochs=0",
    )
    number = cluster.submit(*options, "--time=10", str(SCRIPT), *words, **environ)
    cluster.wait(number, "RUNNING", seconds=60)
    run = None
    while run is None or not any(isinstance(event, Steps) for event in event_log.read(run.events)):
        assert cluster.job(number)["JobState"] == "RUNNING", output(tmp_path)
        run = next(iter(run_directory.directories()), None)
    # The job's cores and memory, which nothing enforces, are the limits of the plan.
    started = next(event for event in event_log.read(run.events) if isinstance(event, RunStarted))
    assert started.memory_limit == 3000 << 20
    assert started.usable_cores == min(2, len(os.sched_getaffinity(0)))
    cluster.run("scancel", "--signal=USR1", str(number))
    cluster.wait(number, "PENDING", seconds=120)
    ended = [event for event in event_log.read(run.events) if isinstance(event, RunEnded)]
    assert [(event.outcome, event.preempted) for event in ended] == [(Outcome.STOPPED, True)], output(tmp_path)
    assert 0 < ended[0].step < 40 * 8
    # Slurm starts a requeued job again after about two minutes.
    found = cluster.wait(number, "COMPLETED", "FAILED", seconds=900)
    assert (found["JobState"], found["ExitCode"], found["Restarts"]) == ("COMPLETED", "0:0", "1"), output(tmp_path)
    events = list(event_log.read(run.events))
    assert [event.start_step for event in events if isinstance(event, ModelReady)] == [0, ended[0].step]
    assert sum(event.window_steps for event in events if isinstance(event, Steps)) == 40 * 8
    assert len(run_directory.directories()) == 1
    # Requeued after its end (by an administrator, say) it has nothing to do, and does not fail.
    again = cluster.submit(
        *options, "--time=5", "--wrap", f"srun gputrain-tui resume job-{number} --if-needed", **environ
    )
    assert cluster.wait(again, "COMPLETED", "FAILED", seconds=120)["ExitCode"] == "0:0", output(tmp_path)
    assert "is finished: there is nothing to resume" in output(tmp_path)


def test_a_job_at_its_time_limit_keeps_its_checkpoint(
    cluster: Slurm, job: tuple[list[str], dict[str, str]], images: Path, tmp_path: Path
) -> None:
    """Without ``--signal`` Slurm sends SIGTERM twice within 20 ms, and SIGKILL 30 s later."""
    options, environ = job
    words = " ".join(("--data", str(images), *SMALL, "epochs=100000", "checkpoint_epochs=0"))
    number = cluster.submit(
        *options, "--time=1", "--wrap", f"srun gputrain-tui train {words} --plain; echo code $?", **environ
    )
    cluster.wait(number, "TIMEOUT", "COMPLETED", "FAILED", seconds=240)
    (run,) = run_directory.directories()
    *_, last = event_log.read(run.events)
    assert isinstance(last, RunEnded), output(tmp_path)
    assert last.preempted
    entry = checkpoint_index.find(run.checkpoints, "last")
    assert entry.step == last.step
    assert checkpoint_index.matches_checksum(run.checkpoints, entry)


def test_two_tasks_are_refused(
    cluster: Slurm, job: tuple[list[str], dict[str, str]], images: Path, tmp_path: Path
) -> None:
    options, environ = job
    words = " ".join(("--data", str(images), *SMALL, "epochs=1"))
    options = ["--ntasks=2", "--cpus-per-task=1", *options[1:]]
    number = cluster.submit(*options, "--time=5", "--wrap", f"srun gputrain-tui train {words} --plain", **environ)
    found = cluster.wait(number, "COMPLETED", "FAILED", seconds=120)
    assert (found["JobState"], found["ExitCode"]) == ("FAILED", "2:0"), output(tmp_path)
    assert output(tmp_path).count("this srun step has 2 tasks, and each would start its own run") == 2
    assert run_directory.directories() == []


def has_kept_its_checkpoint() -> None:
    """The newest run was stopped by the scheduler, and its last checkpoint is whole."""
    run = run_directory.directories()[0]
    *_, last = event_log.read(run.events)
    assert isinstance(last, RunEnded), last
    assert last.preempted
    entry = checkpoint_index.find(run.checkpoints, "last")
    assert entry.step == last.step
    assert checkpoint_index.matches_checksum(run.checkpoints, entry)


def test_a_cancelled_job_whose_processes_are_tracked_keeps_its_checkpoint(
    tracking_cluster: Slurm, job: tuple[list[str], dict[str, str]], images: Path, tmp_path: Path
) -> None:
    """With proctrack/cgroup the run is killed when the command that started it leaves too early."""
    options, environ = job
    words = " ".join(("--data", str(images), *SMALL, "epochs=100000", "checkpoint_epochs=0"))
    number = tracking_cluster.submit(
        *options, "--time=10", "--wrap", f"srun gputrain-tui train {words} --plain; echo code $?", **environ
    )
    tracking_cluster.wait(number, "RUNNING", seconds=60)
    wait_for_steps(lambda: tracking_cluster.job(number)["JobState"] == "RUNNING")
    for _ in range(2):
        tracking_cluster.run("scancel", "--signal=TERM", str(number))
    tracking_cluster.wait(number, "COMPLETED", "FAILED", seconds=120)
    assert "code 75" in output(tmp_path)
    has_kept_its_checkpoint()


def wait_for_steps(goes_on: Callable[[], bool]) -> None:
    run = None
    while run is None or not any(isinstance(event, Steps) for event in event_log.read(run.events)):
        assert goes_on()
        time.sleep(0.5)
        run = next(iter(run_directory.directories()), None)


def test_a_dashboard_in_a_step_ends_in_order_after_the_checkpoint(
    tracking_cluster: Slurm, job: tuple[list[str], dict[str, str]], images: Path, tmp_path: Path
) -> None:
    """``srun --pty gputrain-tui train`` whose job is cancelled."""
    options, environ = job
    srun = shutil.which("srun")
    assert srun is not None
    env = {**tracking_cluster.environ, **environ}
    words = ("--data", str(images), *SMALL, "epochs=100000", "checkpoint_epochs=0")
    with on_terminal(srun, "--pty", "--time=10", *options[:2], "gputrain-tui", "train", *words, env=env) as terminal:
        terminal.shows("● training")
        (number,) = tracking_cluster.run("squeue", "-h", "-o", "%i").split()
        for _ in range(2):
            tracking_cluster.run("scancel", "--signal=TERM", number)
        code, text = terminal.ended()
    assert code == 75, text
    assert "stopping after a checkpoint" in " ".join(text.split())
    last = modes(bytes(terminal.raw))
    assert last[25]
    assert not last[1049]
    has_kept_its_checkpoint()
