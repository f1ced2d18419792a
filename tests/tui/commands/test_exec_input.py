"""What ``exec`` hands to a command: input, words byte for byte, folder, signals; and how its end is read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers.scripts.watched import EXEC, TIMEOUT, run, script

from gputrain.engine.events import Notice, Outcome, RunEnded
from gputrain.engine.runs import event_log, run_directory
from gputrain.engine.runs.run_directory import RunDir, State
from gputrain.engine.supervision.script_run import script_exit_reason
from gputrain.engine.user_script.script_command import read_command

CLI = [sys.executable, "-m", "gputrain.tui.cli"]


def newest() -> RunDir:
    return run_directory.find("last")


def notices() -> list[str]:
    return [event.text for event in event_log.read(newest().events) if isinstance(event, Notice)]


def test_a_pipe_is_read_by_the_command_and_a_second_start_without_one_is_warned_of() -> None:
    raw = [*EXEC, "--raw", "--", sys.executable, "-"]
    done = subprocess.run(raw, input=b"print('from', 'input')\n", capture_output=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout) == (0, b"from input\n"), done.stderr
    again = [*CLI, "clone", newest().id, "--plain"]
    done = subprocess.run(again, input=b"print('another')\n", capture_output=True, timeout=TIMEOUT)
    assert b"| another\n" in done.stdout
    subprocess.run([*CLI, "resume", newest().id, "--plain"], stdin=subprocess.DEVNULL, check=True, timeout=TIMEOUT)
    assert "the command began with a file or a pipe as its input; started again, it reads nothing" in notices()


def test_who_writes_the_input_sees_that_the_command_has_ended(tmp_path: Path) -> None:
    """No process of ours holds the pipe open."""
    go = tmp_path / "go"
    command = f"exec 0<&-; until [ -e {go} ]; do sleep 0.05; done"
    with subprocess.Popen([*EXEC, "--detach", "--", "sh", "-c", command], stdin=subprocess.PIPE) as front:
        assert front.stdin is not None
        handle = os.dup(front.stdin.fileno())
        # As in a shell pipeline, nobody waits for the front end's own copy.
        assert front.wait(TIMEOUT) == 0
    deadline = time.monotonic() + TIMEOUT
    try:
        while True:
            try:
                os.write(handle, b"x")
            except BrokenPipeError:
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.close(handle)
        go.touch()


def test_words_and_folders_that_are_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff caf\xc3\xa9"
    Path(os.fsdecode(folder)).mkdir()
    monkeypatch.chdir(os.fsdecode(folder))
    shown = "import os, sys; sys.stdout.buffer.write(os.getcwdb() + b' ' + os.fsencode(sys.argv[1]))"
    command = [*map(os.fsencode, [*EXEC, "--raw", "--", sys.executable, "-c", shown]), b"\xfe\xc3\xa9"]
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout) == (0, folder + b" \xfe\xc3\xa9"), done.stderr
    kept = read_command(newest())
    assert (os.fsencode(kept.cwd), os.fsencode(kept.argv[-1])) == (folder, b"\xfe\xc3\xa9")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--", "cat", "--data=/dev/fd/63"], "--data=/dev/fd/63: a process substitution, <(…) or >(…), cannot be"),
        (["python", "a b.py"], "put -- before the command: gputrain-tui exec -- python 'a b.py'"),
    ],
)
def test_what_cannot_be_handed_on_is_said(words: list[str], message: str) -> None:
    done = run([*EXEC, *words])
    assert done.returncode == 2
    assert message in done.stderr
    assert run_directory.list_runs() == []


def test_a_folder_that_was_deleted_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = run(["sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(gone), *EXEC, "--", "true"])
    assert done.returncode == 2
    assert "the current folder was deleted" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_a_command_that_outlived_its_supervisor_is_not_started_twice(tmp_path: Path) -> None:
    path = script(tmp_path, f"import pathlib, time\npathlib.Path({str(tmp_path / 'up')!r}).touch()\ntime.sleep(600)\n")
    run_id = run([*EXEC, "--detach", "--", sys.executable, str(path)]).stdout.strip()
    target = run_directory.find(run_id)
    deadline = time.monotonic() + TIMEOUT
    while not (tmp_path / "up").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    status = target.status()
    assert status is not None
    (child,) = (one for one in psutil.Process(status.pid).children() if str(path) in one.cmdline())
    try:
        os.kill(status.pid, signal.SIGKILL)
        while (status := target.status()) is None or status.state is not State.DIED:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        refused = run([*CLI, "resume", run_id, "--detach"])
        assert refused.returncode == 2
        assert f"its command goes on (pid {child.pid}); end it before it is started again" in refused.stderr
    finally:
        child.kill()
    while child.is_running():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert run([*CLI, "resume", run_id, "--detach"]).returncode == 0
    assert run([*CLI, "stop", run_id, "--now"]).returncode == 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("ends", "code", "words"),
    [
        # A shell around the training.
        ("trap 'exit 130' INT; kill -INT $PPID", 130, "stopped on request, by SIGINT"),
        ("trap '' INT; trap 'exit 0' TERM; kill -TERM $PPID", 0, "stopped on request: the command ended with code 0"),
    ],
)
def test_a_command_that_ends_itself_after_a_stop_was_stopped(ends: str, code: int, words: str, tmp_path: Path) -> None:
    """The parent of a command is its supervisor, which passes the signal on."""
    done = run([*EXEC, "--raw", "--", "sh", "-c", f"{ends}; while :; do sleep 0.05; done"])
    assert done.returncode == code, done.stderr
    ended = list(event_log.read(newest().events))[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.outcome, ended.reason, ended.own_code) == (Outcome.STOPPED, words, code)
    plain = script_exit_reason(None, 0, stop_now=False, oom_killed=False, step=1)
    assert plain.outcome is Outcome.FINISHED
