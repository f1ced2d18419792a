"""``gputrain-tui exec``: any command runs as it would without us, and is recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers.scripts.watched import EXEC, TIMEOUT, run, script

from gputrain.engine.events import LogLine, Notice, Outcome, RunEnded
from gputrain.engine.runs import event_log, run_directory
from gputrain.engine.runs.run_directory import RunDir, State


def raw(*command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*EXEC, "--raw", "--", *command], capture_output=True, timeout=TIMEOUT)


def newest() -> RunDir:
    return run_directory.find("last")


def until(run_id: str, state: State) -> None:
    deadline = time.monotonic() + TIMEOUT
    while (status := run_directory.find(run_id).status()) is None or status.state is not state:
        assert time.monotonic() < deadline
        time.sleep(0.05)


OUTPUT = """
import os, sys
sys.stdout.buffer.write(bytes(range(256)) + b"\\x1b[31mred\\n")
sys.stdout.flush()
print("to standard error", file=sys.stderr)
print(os.getcwd(), sys.argv, os.environ["MINE"], oct(os.umask(0)))
sys.exit(7)
"""


def test_output_arguments_environment_and_exit_code_are_the_commands_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "kept")
    monkeypatch.chdir(tmp_path)
    path = script(tmp_path, OUTPUT)
    alone = subprocess.run(
        [sys.executable, str(path), "a b", "--x"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT
    )
    watched = raw(sys.executable, str(path), "a b", "--x")
    assert alone.returncode == 7
    assert (watched.returncode, watched.stdout) == (7, alone.stdout), watched.stderr
    events = list(event_log.read(newest().events))
    ended = events[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.outcome, ended.own_code) == (Outcome.FAILED, 7)
    logged = [event.text for event in events if isinstance(event, LogLine)]
    assert "to standard error" in logged
    assert not any("\x1b" in text for text in logged)
    # Whoever watches it later gets the same exit code.
    tail = run([sys.executable, "-m", "gputrain.tui.cli", "tail", "last", "--plain"])
    assert tail.returncode == 7


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([], "exec needs a command after --"),
        (["--", "no-such-command"], "no-such-command: command not found"),
        (["--", "train.py"], "train.py: command not found; it is a file here: exec -- python train.py, or ./train.py"),
        (["--", "./train.py"], "./train.py: is not executable; run it by its interpreter, as in: exec -- python"),
        (["--", "./"], "is a folder, not a command"),
        (["--raw", "--json", "--", "true"], "--raw and --json: choose one of them"),
    ],
)
def test_a_command_that_cannot_run_is_named(
    command: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("print('hello')")
    done = run([*EXEC, *command])
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert run_directory.list_runs() == []


def test_a_signal_to_the_front_end_reaches_the_script(tmp_path: Path) -> None:
    text = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saving'), sys.exit(9)))\n"
        "print('ready', flush=True)\ntime.sleep(600)\n"
    )
    command = [*EXEC, "--raw", "--", sys.executable, str(script(tmp_path, text))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as front:
        assert front.stdout is not None
        assert front.stderr is not None
        assert front.stdout.readline() == b"ready\n"
        front.send_signal(signal.SIGTERM)
        assert front.stdout.read() == b"saving\n"
        assert b"SIGTERM is passed on to the command" in front.stderr.read()
        assert front.wait(TIMEOUT) == 9


def test_a_script_that_is_killed_has_the_exit_code_of_a_shell() -> None:
    assert raw("sh", "-c", "kill -9 $$").returncode == 128 + 9
    ended = list(event_log.read(newest().events))[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.outcome, ended.reason) == (Outcome.KILLED, "the command was ended by SIGKILL")


@pytest.mark.parametrize("terminal", [[], ["--pty"]])
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_supervisor_that_stands_still_or_is_killed_stalls_no_script(
    terminal: list[str], how: signal.Signals, tmp_path: Path
) -> None:
    """It prints more than any pipe or terminal holds."""
    text = (
        "import pathlib, time\nprint('ready', flush=True)\n"
        f"while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\n"
        "for number in range(20000): print('line', number)\n"
        f"pathlib.Path({str(tmp_path / 'done')!r}).write_text('done')\n"
    )
    command = [*EXEC, "--detach", *terminal, "--", sys.executable, str(script(tmp_path, text))]
    run_id = run(command).stdout.strip()
    target = run_directory.find(run_id)
    deadline = time.monotonic() + TIMEOUT
    while b"ready" not in target.trainer_log.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    status = target.status()
    assert status is not None
    supervisor = psutil.Process(status.pid)
    os.kill(supervisor.pid, how)
    try:
        (tmp_path / "go").touch()
        while not (tmp_path / "done").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        if how is signal.SIGSTOP:
            os.kill(supervisor.pid, signal.SIGCONT)
    while b"line 19999" not in target.trainer_log.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if how is signal.SIGSTOP:
        until(run_id, State.FINISHED)


def test_a_terminal_is_one_only_where_it_was_asked_for(tmp_path: Path) -> None:
    path = script(tmp_path, "import os, sys\nprint(sys.stdout.isatty(), sys.stdin.isatty())\n")
    assert raw(sys.executable, str(path)).stdout == b"False False\n"
    done = subprocess.run(
        [*EXEC, "--raw", "--pty", "--", sys.executable, str(path)], capture_output=True, timeout=TIMEOUT
    )
    assert done.stdout == b"True False\r\n"


def test_what_a_command_leaves_behind_goes_on_and_is_named() -> None:
    # The child has the shell's name until it has started sleep.
    script = 'sleep 300 & until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done; echo $!'
    assert raw("sh", "-c", script).returncode == 0
    run_dir = newest()
    left = int(run_dir.trainer_log.read_text())
    try:
        assert psutil.Process(left).name() == "sleep"
        notices = [event.text for event in event_log.read(run_dir.events) if isinstance(event, Notice)]
        assert f"the command left processes running, which go on: sleep (pid {left})" in notices
    finally:
        os.kill(left, signal.SIGKILL)


def test_resume_and_clone_start_the_command_again(tmp_path: Path) -> None:
    path = script(tmp_path, f"import pathlib\nwith open({str(tmp_path / 'count')!r}, 'a') as f: f.write('x')\n")
    assert raw(sys.executable, str(path)).returncode == 0
    first = newest()
    cli = [sys.executable, "-m", "gputrain.tui.cli"]
    assert run([*cli, "resume", first.id, "--plain"]).returncode == 0
    assert run([*cli, "clone", first.id, "--plain"]).returncode == 0
    assert (tmp_path / "count").read_text() == "xxx"
    assert len(run_directory.list_runs()) == 2
    refused = run([*cli, "resume", first.id, "batch_size=4"])
    assert refused.returncode == 2
    assert "is a script of your own: it has no settings to change" in refused.stderr


def test_json_is_the_record_and_no_page_is_left(tmp_path: Path) -> None:
    before = set(Path("/dev/shm").iterdir())
    done = run([*EXEC, "--json", "--name", "mine", "--tag", "baseline", "--", "true"])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["type"] == "run_started"
    assert lines[0]["settings"] == {
        "engine": "script", "recipe": "script", "name": "mine", "command": "true", "folder": str(Path.cwd()),
    }  # fmt: skip
    assert lines[-1]["type"] == "summary"
    assert not [path for path in set(Path("/dev/shm").iterdir()) - before if "mine" in path.name]


@pytest.mark.parametrize(("option", "name"), [([], "SIGINT"), (["--now"], "SIGTERM")])
def test_a_script_that_ends_by_a_stop_was_stopped_and_not_killed(option: list[str], name: str, tmp_path: Path) -> None:
    path = script(tmp_path, "import time\nprint('ready', flush=True)\ntime.sleep(600)\n")
    run_id = run([*EXEC, "--detach", "--", sys.executable, str(path)]).stdout.strip()
    target = run_directory.find(run_id)
    deadline = time.monotonic() + TIMEOUT
    while b"ready" not in target.trainer_log.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert run([sys.executable, "-m", "gputrain.tui.cli", "stop", run_id, *option]).returncode == 0
    until(run_id, State.STOPPED)
    ended = list(event_log.read(target.events))[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.reason, ended.own_code) == (f"stopped on request, by {name}", 128 + getattr(signal, name))
