"""``exec`` with commands that are not a plain ``python my_train.py``: output, exit code and what is said of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.scripts.watched import EXEC, LOCAL_TORCHRUN, MAIN, TIMEOUT, TRAIN, run, script

from gputrain.engine.events import Notice, RankSteps, RunEnded
from gputrain.engine.runs import event_log, run_directory
from gputrain.engine.user_script.page_reader import PageFolder
from gputrain.engine.user_script.script_command import ScriptCommand
from gputrain.engine.user_script.script_events import SILENT_SECONDS, ScriptEvents


def raw(*command: str) -> subprocess.CompletedProcess[str]:
    return run([*EXEC, "--raw", "--", *command])


def ended() -> RunEnded:
    last = list(event_log.read(run_directory.find("last").events))[-1]
    assert isinstance(last, RunEnded)
    return last


def executable(folder: Path, name: str, text: str) -> str:
    path = script(folder, text, name)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signals_are_passed_on(number: signal.Signals, tmp_path: Path) -> None:
    text = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: (print('got it'), sys.exit(9)))\n"
        "print('ready', flush=True)\ntime.sleep(600)\n"
    )
    command = [*EXEC, "--raw", "--", sys.executable, str(script(tmp_path, text))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as front:
        assert front.stdout is not None
        assert front.stdout.readline() == b"ready\n"
        front.send_signal(number)
        assert front.stdout.read() == b"got it\n"
        assert front.wait(TIMEOUT) == 9


def test_an_end_by_a_signal_has_the_same_code_for_who_watches_later() -> None:
    assert raw("sh", "-c", "kill -TERM $$").returncode == 128 + 15
    tail = run([sys.executable, "-m", "gputrain.tui.cli", "tail", "last", "--plain"])
    assert tail.returncode == 128 + 15


def test_a_text_without_an_interpreter_line_runs_by_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = executable(tmp_path, "train", 'echo "$0 $1"; exit 4\n')
    done = raw(path, "a b")
    assert (done.returncode, done.stdout) == (4, f"{path} a b\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert raw("train").stdout == f"{path} \n"


def test_a_console_script_is_watched(tmp_path: Path) -> None:
    path = executable(tmp_path, "my-train", f"#!{sys.executable}\n" + TRAIN + MAIN)
    assert raw(path, "0", "").returncode == 0
    assert ended().step == 87


def test_a_shell_script_that_leaves_its_training_in_the_background_is_watched_to_the_end(tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow = f"    import pathlib, time\n    time.sleep(0.03)\n    if count == 5: pathlib.Path({str(go)!r}).touch()\n"
    path = script(tmp_path, TRAIN.replace("def after_step(count):\n", "def after_step(count):\n" + slow) + MAIN)
    shell = f"{sys.executable} {path} 0 '' & until [ -e {go} ]; do sleep 0.1; done"
    done = raw("sh", "-c", shell)
    assert done.returncode == 0
    assert len(done.stdout.strip()) == 64
    assert ended().step == 87


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#!/no/such/python\nprint(1)\n", "its first line names an interpreter that is not there: /no/such/python"),
        ("#! /no/such/env python3\n", "its first line names an interpreter that is not there: /no/such/env"),
    ],
)
def test_a_missing_interpreter_is_named(text: str, message: str, tmp_path: Path) -> None:
    done = raw(executable(tmp_path, "train", text))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert run_directory.list_runs() == []


def test_a_file_that_is_no_program_is_said(tmp_path: Path) -> None:
    done = raw(executable(tmp_path, "train", "\x7fELF nothing\n"))
    assert (done.returncode, done.stdout) == (126, "")
    assert "the command cannot be started: Exec format error" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_program_that_is_no_python_runs(tmp_path: Path) -> None:
    """As a frozen script, or one in another language: only its output and the machine are watched."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler: run .ci/install-services")
    source = script(tmp_path, '#include <stdio.h>\nint main(void) { puts("compiled"); return 5; }\n', "train.c")
    subprocess.run([compiler, "-o", str(tmp_path / "train"), str(source)], check=True)
    done = raw(str(tmp_path / "train"))
    assert (done.returncode, done.stdout) == (5, "compiled\n")
    assert ended().step == 0


@pytest.mark.parametrize("flag", ["-I", "-E", "-S"])
def test_an_interpreter_that_keeps_the_probe_out_runs(flag: str, tmp_path: Path) -> None:
    path = script(tmp_path, "import sys\nprint('_gputrain_probe' in sys.modules, sys.flags.isolated, sys.argv[1:])\n")
    python = str(getattr(sys, "_base_executable", sys.executable))
    alone = run([python, flag, str(path), "x"])
    assert raw(python, flag, str(path), "x").stdout == alone.stdout == f"False {int(flag == '-I')} ['x']\n"


def test_silence_is_explained(tmp_path: Path) -> None:
    """After a minute: by a clock of the test's own."""
    script_events = ScriptEvents(PageFolder(tmp_path), ScriptCommand(argv=("true",), cwd="/"), 0.0)
    assert script_events.poll(SILENT_SECONDS - 1) == []
    (said,) = script_events.poll(SILENT_SECONDS + 1)
    assert isinstance(said, Notice)
    assert "python -I, -E or -S, a cleaned environment" in said.text
    assert script_events.poll(SILENT_SECONDS + 2) == []


def test_a_script_that_moves_cleans_its_environment_and_closes_its_output_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own Python processes without our variables run as well, unwatched."""
    (tmp_path / "elsewhere").mkdir()
    text = (
        "import os, subprocess, sys\nsys.stdout.flush()\nos.chdir('elsewhere')\nos.environ.clear()\n"
        "os.environ['PYTHONPATH'] = 'mine'\n"
        "code = 'import sys; print([p for p in sys.path if p.endswith(\"mine\")] != [], sys.argv[1:])'\n"
        "subprocess.run([sys.executable, '-c', code, 'x'], check=True)\nos.close(1)\nos.close(2)\n"
    )
    path = script(tmp_path, text + TRAIN + MAIN.replace("    main(", "    sys.stdout = open('out', 'w')\n    main("))
    monkeypatch.chdir(tmp_path)
    done = raw(sys.executable, str(path), "2", "")
    assert (done.returncode, done.stdout) == (0, "True ['x']\n")
    assert len((tmp_path / "elsewhere" / "out").read_text().strip()) == 64
    assert ended().step == 87


def test_two_ranks_by_torchrun_are_both_seen(tmp_path: Path) -> None:
    """The command starts Python processes that start others."""
    text = TRAIN.replace("import torch\n", "import os, torch\n", 1) + MAIN
    command = [*LOCAL_TORCHRUN, "--nproc-per-node", "2"]
    done = raw(*command, str(script(tmp_path, text)), "0", "")
    assert done.returncode == 0, done.stderr
    kinds = [event for event in event_log.read(run_directory.find("last").events) if isinstance(event, RankSteps)]
    assert {event.rank for event in kinds} == {1}
    assert ended().step == 87
