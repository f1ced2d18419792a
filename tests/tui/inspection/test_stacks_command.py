"""`gputrain-tui stacks` on a real run of a script with data workers, threads and signal handlers of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.sshd import needs_sshd, sshd
from helpers.scripts.watched import script

from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.launching.attachment import NotLiveError
from gputrain.engine.launching.launch_script import launch_script
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.user_script.script_command import ScriptCommand
from gputrain.tui.cli.main import main

HANGS = """
import signal, sys, time
import torch
from torch.utils.data import DataLoader, Dataset

class Numbers(Dataset):
    def __len__(self):
        return 100

    def __getitem__(self, index):
        if index > 1:
            read_slow_file()
        return torch.tensor([float(index)])

def read_slow_file():
    time.sleep(1000)

for number in (signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda *_: print("own handler", flush=True))
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-3)
for x in DataLoader(Numbers(), batch_size=1, num_workers=2):
    model(x).sum().backward()
    optimizer.step()
    print("trained", flush=True)
"""


def wait_for_output(run: RunDir, text: str, count: int) -> None:
    deadline = time.monotonic() + 120
    while run.trainer_log.read_text().count(text) < count:
        assert time.monotonic() < deadline, run.trainer_log.read_text()
        time.sleep(0.1)


pytestmark = pytest.mark.long


@pytest.fixture
def hanging(private_homes: Path) -> Iterator[tuple[RunDir, Path]]:
    """A script that hangs, and its file; the run is ended."""
    path = script(private_homes, HANGS)
    run = launch_script(ScriptCommand(argv=(sys.executable, "-u", str(path)), cwd=str(private_homes)))
    attachment = launch.attach(run)
    try:
        wait_for_output(run, "trained", 2)
        yield run, path
    finally:
        with contextlib.suppress(NotLiveError):
            attachment.send(StopCommand(checkpoint=False))
        while not (attachment.ended or attachment.abandoned):
            attachment.read()
        attachment.close()


def test_a_script_that_hangs_shows_where_it_and_its_workers_are(
    hanging: tuple[RunDir, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run, path = hanging
    assert main(["stacks", run.id, "--json"]) == 0
    taken = json.loads(capsys.readouterr().out)
    roles = [one["role"] for one in taken["processes"]]
    assert sorted(roles) == ["script", "worker", "worker"]
    assert taken["share"] == 2
    assert taken["line"] == f"{path}:16 in read_slow_file"
    loop = next(one["at"] for one in taken["processes"] if one["role"] == "script")
    assert loop == f"{path}:22 in <module>"
    assert main(["stacks", run.id]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"2 of 3 processes: {path}:16 in read_slow_file\n")
    assert "own handler" not in run.trainer_log.read_text()


@needs_sshd()
def test_on_another_machine_and_a_trace_that_no_step_begins(
    hanging: tuple[RunDir, Path],
    private_homes: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, path = hanging
    passed = {name: os.environ[name] for name in ("GPUTRAIN_HOME", "PYTHONPATH") if name in os.environ}
    with sshd(private_homes / "sshd", passed) as server:
        monkeypatch.setenv("GPUTRAIN_SSH", server.ssh)
        assert main(["stacks", f"box:{run.id}"]) == 0
        assert capsys.readouterr().out.startswith(f"2 of 3 processes: {path}:16 in read_slow_file\n")
        # The loop waits for its workers: the trace says so, and ends with the run.
        command = [sys.executable, "-m", "gputrain.tui.cli", "profile", f"box:{run.id}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as profile:
            assert profile.stderr is not None
            waiting = profile.stderr.readline()
            assert "no step has ended for 20 s: the training waits for data, or hangs" in waiting
            assert main(["profile", run.id]) == 1
            assert "no trace: a trace is being recorded already" in capsys.readouterr().err
            launch.attach(run).send(StopCommand(checkpoint=False))
            assert "no trace: the run ended before the trace was complete" in profile.stderr.read()
        assert profile.returncode == 1
    assert main(["stacks", run.id]) == 1
    assert f"{run.id} is not running" in capsys.readouterr().err
