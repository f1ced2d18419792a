"""Signals of a batch system to the commands that start runs: real processes, real signals, at any time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from fakes.images import dark_and_light

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.events import ModelReady, Outcome, RunEnded
from gputrain.engine.runs import event_log, run_directory
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.cli.main import main

TIMEOUT = 120.0
TERM, USR1 = signal.SIGTERM, signal.SIGUSR1
SMALL = [
    "device=cpu", "dataset=imagefolder", "image_size=32", "val_resize=32", "val_split=", "batch_size=4", "width=4",
    "precision=fp32", "epochs=100000", "checkpoint_epochs=0",
]  # fmt: skip
CUSTOM = """
from pathlib import Path
from PIL import Image

class Images:
    classes = ["dark", "light"]

    def __init__(self, root):
        self.files = sorted(Path(root).glob("train/*/*.jpg"))

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return Image.open(self.files[index]).convert("RGB"), self.classes.index(self.files[index].parent.name)

def make(data_dir):
    return Images(data_dir)
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = dark_and_light(tmp_path_factory.mktemp("images"), 8)
    (folder / "mydata.py").write_text(CUSTOM)
    return folder


@pytest.fixture
def begin() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command; in the end its process and the supervisors of all runs are killed."""
    children: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "gputrain.tui.cli", *words]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate()
    for run in run_directory.directories():
        status = run.status()
        if status is not None and not status.state.over:
            os.kill(status.pid, signal.SIGKILL)


Begin = Callable[..., subprocess.Popen[str]]


def wait_for_event(child: subprocess.Popen[str], kind: str) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        if json.loads(line)["type"] == kind:
            return
    pytest.fail(f"no {kind}: {child.communicate()[1]}")


def job_processes(child: subprocess.Popen[str]) -> list[psutil.Process]:
    """The command and its children, and the supervisor with all processes below it."""
    found = [psutil.Process(child.pid)]
    found += found[0].children(recursive=True)
    for run in run_directory.directories():
        status = run.status()
        if status is not None and not status.state.over:
            with contextlib.suppress(psutil.NoSuchProcess):
                supervisor = psutil.Process(status.pid)
                found += [supervisor, *supervisor.children(recursive=True)]
    return list(dict.fromkeys(found))


def send(processes: list[psutil.Process], *numbers: signal.Signals) -> None:
    for number in numbers:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        time.sleep(0.01)


def last_event(run: RunDir) -> RunEnded:
    *_, event = event_log.read(run.events)
    assert isinstance(event, RunEnded)
    return event


def check_preempted(child: subprocess.Popen[str]) -> RunEnded:
    out, errors = child.communicate(timeout=TIMEOUT)
    assert child.returncode == 75, out[-2000:] + errors
    run = run_directory.find("last")
    assert not run.is_live()
    ended = last_event(run)
    assert (ended.outcome, ended.preempted) == (Outcome.STOPPED, True), ended
    return ended


@pytest.mark.parametrize(
    "numbers",
    [
        (TERM, TERM),
        *(pytest.param(n, marks=pytest.mark.long) for n in ((USR1, USR1, TERM), (TERM, signal.SIGCONT, TERM))),
    ],
)
@pytest.mark.parametrize(
    "data", [("loader=processes",), ("dataset=custom", "custom=mydata:make")], ids=["own", "torch"]
)
def test_repeated_signals_to_all_processes_leave_a_checkpoint(
    images: Path, begin: Begin, numbers: tuple[signal.Signals, ...], data: tuple[str, ...]
) -> None:
    """Slurm sends SIGTERM twice within 20 ms at a time limit; data workers are processes of their own."""
    own = (*SMALL, "num_workers=2", f"code_dir={images}", *data)
    child = begin("train", "--recipe", "custom", "--data", str(images), "--json", *own)
    wait_for_event(child, "steps")
    processes = job_processes(child)
    assert len(processes) >= 6
    send(processes, *numbers)
    ended = check_preempted(child)
    run = run_directory.find("last")
    entry = checkpoint_index.find(run.checkpoints, "last")
    assert entry.step == ended.step
    assert checkpoint_index.matches_checksum(run.checkpoints, entry)


@pytest.mark.parametrize(
    "numbers",
    [(TERM, signal.SIGINT), (TERM, signal.SIGHUP), pytest.param((TERM, USR1, signal.SIGHUP), marks=pytest.mark.long)],
)
def test_a_signal_after_a_batch_systems_loses_no_stop(
    images: Path, begin: Begin, numbers: tuple[signal.Signals, ...]
) -> None:
    """systemd sends SIGHUP after SIGTERM."""
    child = begin("train", "--data", str(images), "--json", *SMALL, "num_workers=0")
    wait_for_event(child, "steps")
    send([psutil.Process(child.pid)], *numbers)
    ended = check_preempted(child)
    run = run_directory.find("last")
    assert checkpoint_index.find(run.checkpoints, "last").step == ended.step


@pytest.mark.long
def test_only_ctrl_c_detaches(images: Path, begin: Begin) -> None:
    child = begin("train", "--data", str(images), "--json", *SMALL, "num_workers=0")
    with stopped_trainer(child):
        for number in (TERM, TERM, USR1):
            child.send_signal(number)
            time.sleep(0.5)
        assert child.poll() is None
    _, errors = child.communicate(timeout=TIMEOUT)
    assert child.returncode == 75
    assert errors.count("stopping after a checkpoint\n") == 1


def test_two_ctrl_c_detach(images: Path, begin: Begin) -> None:
    child = begin("train", "--data", str(images), "--json", *SMALL, "num_workers=0")
    with stopped_trainer(child):
        child.send_signal(signal.SIGINT)
        time.sleep(2.0)
        assert child.poll() is None
        child.send_signal(signal.SIGINT)
        out, errors = child.communicate(timeout=TIMEOUT)
        assert child.returncode == 0
        assert "press Ctrl-C again to leave the run alone" in errors
        assert "watch it again with: gputrain-tui tail" in out
        assert run_directory.find("last").is_live()


@contextlib.contextmanager
def stopped_trainer(child: subprocess.Popen[str]) -> Iterator[None]:
    """A run that cannot end, as its trainer does nothing: only the signals decide whether the command leaves."""
    wait_for_event(child, "steps")
    run = run_directory.find("last")
    ready = next(event for event in event_log.read(run.events) if isinstance(event, ModelReady))
    os.kill(ready.trainer_pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(ready.trainer_pid, signal.SIGCONT)


@pytest.mark.long
def test_a_signal_while_the_demo_images_are_drawn(begin: Begin) -> None:
    child = begin("train", "--recipe", "demo", "--json", "device=cpu")
    assert child.stdout is not None
    for line in child.stdout:
        event = json.loads(line)
        if event["type"] == "phase" and "drawing" in event["phase"] and event.get("done", 0) > 0:
            break
    processes = job_processes(child)
    assert any("spawn_main" in " ".join(process.cmdline()) for process in processes[3:]), processes
    send(processes, USR1, USR1)
    assert check_preempted(child).step == 0


@pytest.mark.parametrize(
    "delay", [0.1, *(pytest.param(d, marks=pytest.mark.long) for d in (0.0, 0.05, 0.3, 0.6, 1.0, 2.0))]
)
def test_a_signal_in_the_first_seconds(images: Path, begin: Begin, delay: float) -> None:
    """From when Python runs the command on: before that the kernel ends it with 138, and nothing has started."""
    child = begin("train", "--data", str(images), "--plain", *SMALL, "num_workers=0")
    deadline = time.monotonic() + TIMEOUT
    while not handles(child.pid, USR1):
        assert time.monotonic() < deadline
    time.sleep(delay)
    send(job_processes(child), USR1)
    out, errors = child.communicate(timeout=TIMEOUT)
    assert child.returncode == 75, out[-2000:] + errors
    runs = run_directory.directories()
    assert all(not run.is_live() for run in runs)
    assert bool(runs) != ("before a run was started" in errors)
    for run in runs:
        assert last_event(run).preempted


def handles(pid: int, number: signal.Signals) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(caught >> (number - 1) & 1)


@pytest.mark.parametrize("seconds", [0.5, pytest.param(4.0, marks=pytest.mark.long)])
def test_a_signal_during_a_calibration(images: Path, begin: Begin, seconds: float) -> None:
    child = begin("calibrate", "--data", str(images), *SMALL, "num_workers=2")
    assert child.stderr is not None
    child.stderr.readline()
    time.sleep(seconds)
    processes = job_processes(child)
    assert len(processes) >= 2
    send(processes, USR1)
    _, errors = child.communicate(timeout=TIMEOUT)
    assert child.returncode == 75, errors
    assert "stopped by SIGUSR1, before a run was started" in errors
    assert not psutil.wait_procs(processes, timeout=TIMEOUT)[1]


@pytest.mark.parametrize("words", [["train", "--recipe", "demo"], ["resume", "last"], ["clone", "last"]])
def test_several_tasks_of_a_step_are_refused(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert main(words) == 2
    assert (
        "this srun step has 2 tasks, and each would start its own run: use srun --ntasks=1" in capsys.readouterr().err
    )
    assert run_directory.directories() == []


def test_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in (TERM, USR1, signal.SIGINT)]
    assert main(["train", "--recipe", "unknown"]) == 2
    assert [signal.getsignal(number) for number in (TERM, USR1, signal.SIGINT)] == before
