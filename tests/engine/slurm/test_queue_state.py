"""What lists and dashboards show of a run in Slurm's queue; programs in PATH answer instead of Slurm's."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from helpers.tui.drawing import text, view

from gputrain.engine.common.errors import BadInput
from gputrain.engine.events import Outcome, RunEnded
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.launching.attachment import NotLiveError
from gputrain.engine.runs import event_log, run_directory
from gputrain.engine.runs.run_directory import RunDir, RunInfo, State, Status
from gputrain.engine.slurm import job_file, queue_state, slurm_commands
from gputrain.engine.slurm.job_file import SlurmJob
from gputrain.engine.slurm.queue_watch import QueueWatch
from gputrain.engine.slurm.slurm_commands import GONE, JobState, PartitionNodes
from gputrain.tui.actions.run_list_refresh import RunListing
from gputrain.tui.widgets.panels.status_line import draw_status


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o700)


def queued(number: int = 17) -> RunDir:
    run = run_directory.create("queued")
    run.write_status(queue_state.new_status("", "demo", "cpu"))
    job_file.write_job(run, SlurmJob(number=number, ranks=2, asked="nodes=1"))
    return run


def shown(run: RunDir, state: JobState) -> Status:
    (info,) = queue_state.with_queue([RunInfo(run, run.status())], lambda numbers: dict.fromkeys(numbers, state))
    assert info.status is not None
    return info.status


def test_a_queued_run_says_why_it_waits() -> None:
    run = queued()
    now = shown(run, JobState("PENDING", "Priority"))
    assert (now.state, now.reason) == (State.QUEUED, "Slurm job 17: Priority")
    now = shown(run, JobState(reason="squeue: no answer after 5 s"))
    assert (now.state, now.reason) == (State.QUEUED, "Slurm job 17: unknown (squeue: no answer after 5 s)")
    now = shown(run, JobState("RUNNING", "", "node-[3-4]"))
    assert (now.state, now.reason) == (State.STARTING, "Slurm job 17 is running on node-[3-4]")
    assert not run.events.exists()


@pytest.mark.parametrize(
    ("state", "expected", "reason"),
    [
        (JobState("CANCELLED"), State.STOPPED, "Slurm job 17 was cancelled before the run started"),
        (JobState("FAILED", "NonZeroExitCode"), State.FAILED,
         "Slurm job 17 ended before the run started: FAILED (NonZeroExitCode): no module named torch"),
        (JobState(GONE), State.KILLED, "Slurm no longer knows job 17, which ended before the run started: no module"),
    ],
)  # fmt: skip
def test_a_job_that_is_over_ends_the_run_once(state: JobState, expected: State, reason: str) -> None:
    run = queued()
    (run.directory / "slurm.log").write_text(
        "no module named torch\nsrun: error: node: task 0: Exited with exit code 1\n"
    )
    now = shown(run, state)
    assert now.state is expected
    assert now.reason.startswith(reason)
    shown(run, state)
    (ended,) = event_log.read(run.events)
    assert isinstance(ended, RunEnded)
    assert ended.reason == now.reason
    # It is over: Slurm is not asked again.
    asked: list[int] = []
    queue_state.with_queue([RunInfo(run, run.status())], lambda numbers: asked.extend(numbers) or {})  # type: ignore[func-returns-value]
    assert asked == []


def test_a_requeued_run_is_queued_and_a_cancelled_one_keeps_its_own_end() -> None:
    run = queued()
    before = queue_state.new_status("", "demo", "cpu")
    run.write_status(Status(**{name: getattr(before, name) for name in before.__struct_fields__} | {
        "state": State.STOPPED, "reason": "stopped by SIGUSR1", "step": 40}))  # fmt: skip
    now = shown(run, JobState("PENDING", "BeginTime"))
    assert (now.state, now.reason, now.step) == (State.QUEUED, "Slurm job 17: BeginTime", 40)
    assert shown(run, JobState("COMPLETING")).reason == "stopped by SIGUSR1"
    assert shown(run, JobState(reason="squeue: not found")).reason == "stopped by SIGUSR1"
    assert shown(run, JobState("CANCELLED")).reason == "stopped by SIGUSR1"
    assert not run.events.exists()


def test_the_dashboard_says_why_it_waits() -> None:
    assert "○ queued: Slurm job 17: Resources" in text(
        [draw_status(view(trouble="queued: Slurm job 17: Resources"), 200)]
    )
    assert "no connection, trying again: ssh: timed out" in text([draw_status(view(trouble="ssh: timed out"), 200)])


def test_starts_without_progress_are_counted() -> None:
    job = SlurmJob(number=17, ranks=2, asked="time=1")
    for step, idle in ((0, 1), (0, 2), (5, 0), (5, 1), (9, 0)):
        job = job_file.after_preemption(job, step)
        assert job.idle_starts == idle
    assert job.step == 9


def test_answers_of_squeue_and_sinfo(programs: Path) -> None:
    program(
        programs, "squeue", 'echo "17|PENDING|Resources|"; echo "18|RUNNING|None|node[1-2]"; echo "19_3|RUNNING|x|y"'
    )
    assert slurm_commands.job_states((17, 18, 20)) == {
        17: JobState("PENDING", "Resources"),
        18: JobState("RUNNING", "", "node[1-2]"),
        20: JobState(GONE),
    }
    program(programs, "squeue", 'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1')
    assert slurm_commands.job_states((17,)) == {17: JobState(GONE)}
    program(programs, "squeue", 'echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1')
    (state,) = slurm_commands.job_states((17,)).values()
    assert (state.known, state.over) == (False, False)
    assert "Unable to contact" in state.reason
    program(programs, "sinfo", 'echo "gpu*|64|512000|gpu:a100:8(S:0-1),nvme:1"; echo "cpu|128|256000|(null)"')
    assert slurm_commands.partition_nodes("") == PartitionNodes(64, 512000 << 20, 8, "a100")
    assert slurm_commands.partition_nodes("cpu") == PartitionNodes(128, 256000 << 20)
    with pytest.raises(BadInput, match=r"no partition 'x' \(all: cpu, gpu\)"):
        slurm_commands.partition_nodes("x")


def test_a_slow_or_missing_squeue_blocks_no_list(programs: Path) -> None:
    run = queued()
    program(programs, "squeue", "exec /bin/sleep 60")
    (state,) = slurm_commands.job_states((17,), seconds=0.2).values()
    assert state.reason == "squeue: no answer after 0.2 s"
    listing = RunListing()
    # The thread that asks is still waiting when the list is there.
    (row,) = listing.rows()
    assert any(line.name == "squeue" for line in threading.enumerate())
    assert row.info.status is not None
    assert (row.info.status.state, row.info.status.reason) == (
        State.QUEUED, "Slurm job 17: unknown (Slurm has not answered yet)",
    )  # fmt: skip
    (programs / "squeue").unlink()
    assert slurm_commands.job_states((17,))[17].reason == "squeue: not found; is this a login node of a Slurm cluster?"
    with pytest.raises(NotLiveError, match="cannot be stopped: squeue: not found"):
        launch.attach(run).send(StopCommand(checkpoint=True))


def test_the_watch_asks_on_a_thread_and_the_list_changes_with_the_answer(programs: Path) -> None:
    run = queued()
    program(programs, "squeue", 'echo "17|PENDING|Priority|"')
    watch = QueueWatch()
    assert watch.states((17,)) == {17: JobState()}
    watch.wait(30)
    assert watch.states((17,)) == {17: JobState("PENDING", "Priority")}
    attachment = launch.attach(run)
    deadline = time.monotonic() + 30
    while attachment.trouble != "queued: Slurm job 17: Priority":
        assert attachment.read(timeout=0.05) == []
        assert not attachment.abandoned
        assert time.monotonic() < deadline
    # Cancelled by someone else: the reader gets the end.
    program(programs, "squeue", 'echo "17|CANCELLED|None|"')
    queue_state.with_queue([RunInfo(run, run.status())], slurm_commands.job_states)
    found = []
    while not attachment.ended:
        found += attachment.read(timeout=0.05)
        assert time.monotonic() < deadline
    assert [(event.outcome, event.step) for event in found if isinstance(event, RunEnded)] == [(Outcome.STOPPED, 0)]
    attachment.close()
