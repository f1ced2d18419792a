"""Loggers: real records, real processes, and files read back by the tools that they are for."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from fakes.locks import hold_lock
from helpers.logged_events import model_ready, steps
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from wandb.proto import wandb_internal_pb2

from gputrain.engine.common.errors import BadInput
from gputrain.engine.events import (
    AnyEvent,
    GpuSample,
    HardwareSample,
    Hint,
    HintsChanged,
    Notice,
    Outcome,
    RunEnded,
    RunStarted,
    Scalars,
    Validated,
)
from gputrain.engine.loggers import logged_values, logger_choice
from gputrain.engine.loggers.logged_values import EventValues
from gputrain.engine.loggers.logger_processes import LoggerProcesses
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.event_log import RecordWriter
from gputrain.engine.runs.run_directory import RunDir

TIMEOUT = 60.0


BEGUN: tuple[AnyEvent, ...] = (
    RunStarted(run_id="r", settings={"batch_size": 4, "lr": 0.1, "compile": False, "model": "simple_cnn"}),
    model_ready(),
)
REST: tuple[AnyEvent, ...] = (
    steps(1, 2.5),
    steps(2),
    steps(3, 1.5),
    HardwareSample(
        interval=1.0,
        cpu_percent=50.0,
        ram_used=3 * 2**30,
        gpus=(GpuSample(index=0, utilization=70.0, memory_used=2**31),),
    ),
    HintsChanged(hints=(Hint(id="cpu", severity="warning", title="CPU-bound", evidence="waits 27 %", action="cache"),)),
    Notice(level="info", text="a <b>word</b>"),
    Validated(
        epoch=0, step=3, metrics={"accuracy": 0.75, "loss": 0.5}, metric="accuracy", best=True, images=8, seconds=1.0
    ),
    RunEnded(outcome=Outcome.FINISHED, reason="all steps are done", step=3),
)


@pytest.fixture
def run(private_homes: Path) -> RunDir:
    return run_directory.create("logged")


def record(run: RunDir, events: tuple[AnyEvent, ...]) -> None:
    writer = RecordWriter(run.events)
    for event in events:
        writer.append(event)
    writer.close()


def read_back(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
    found.Reload()
    return found


def scalars(found: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in found.Scalars(tag)]


def log_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gputrain.tui.cli", "log", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)


def test_a_finished_run_is_read_back_by_tensorboard(run: RunDir, tmp_path: Path) -> None:
    record(run, BEGUN + REST)
    done = log_command("last", "--to", "tensorboard", "--dir", str(tmp_path / "page"), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["type"], said["events"]) == ("logged", len(BEGUN + REST))
    found = read_back(tmp_path / "page")
    assert scalars(found, "train/loss") == [(1, 2.5), (3, 1.5)]
    assert scalars(found, "train/data_wait_share") == [(1, 0.25), (2, 0.25), (3, 0.25)]
    assert scalars(found, "val/accuracy") == [(3, 0.75)]
    assert scalars(found, "gpu0/utilization_percent") == [(3, 70.0)]
    assert scalars(found, "system/ram_used_gib") == [(3, 3.0)]
    assert "train/grad_norm" not in found.Tags()["scalars"]  # was not measured
    words = {tag: found.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in ("hints", "notices", "outcome")}
    assert words["hints"] == "**CPU-bound** (warning): waits 27 % → cache"
    assert words["notices"] == "info: a <b>word</b>"
    assert words["outcome"] == "finished: all steps are done"
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    told = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert told["batch_size"].number_value == 4
    assert told["model"].string_value == "simple_cnn"
    assert told["compile"].bool_value is False


@pytest.mark.long
def test_a_finished_run_is_read_back_from_the_file_of_wandb(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    record(run, BEGUN + REST)
    done = log_command("last", "--to", "wandb")
    assert done.returncode == 0, done.stderr
    assert "view them with: wandb sync " in done.stdout
    (file,) = (run.directory / "wandb").rglob("run-*.wandb")
    records = [wandb_internal_pb2.Record.FromString(raw) for raw in leveldb_log(file.read_bytes())]
    rows = [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    assert [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row] == [(1, 2.5), (3, 1.5)]
    assert [row["val/accuracy"] for row in rows if "val/accuracy" in row] == [0.75]
    assert [row["gpu0/memory_used_gib"] for row in rows if "gpu0/memory_used_gib" in row] == [2.0]
    settings = {item.key: json.loads(item.value_json) for record in records for item in record.config.update}
    assert (settings["batch_size"], settings["model"]) == (4, "simple_cnn")
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [0]
    (words,) = (run.directory / "wandb").rglob("notices*.html")
    assert "info: a &lt;b&gt;word&lt;/b&gt;" in words.read_text()


def leveldb_log(data: bytes) -> Iterator[bytes]:
    """The records of LevelDB's log format, which W&B's own files have (after seven bytes that name them)."""
    block, header, whole, last = 32768, struct.Struct("<IHB"), 1, 4
    at, parts = 7, b""
    while at + header.size <= len(data):
        if block - at % block < header.size:
            at += block - at % block
            continue
        _, length, kind = header.unpack_from(data, at)
        at += header.size
        parts += data[at : at + length]
        at += length
        if kind in (whole, last):
            yield parts
            parts = b""


def test_repeated_steps_replace_the_earlier_ones(run: RunDir) -> None:
    again = (BEGUN[0], model_ready(start_step=1), steps(2, 7.0), *REST[-1:])
    record(run, BEGUN + REST[:3] + again)
    assert log_command(run.id, "--to", "tensorboard").returncode == 0
    assert scalars(read_back(run.directory / "tensorboard"), "train/loss") == [(1, 2.5), (2, 7.0)]


def test_what_a_script_logs_is_logged_and_its_second_start_replaces_the_first(run: RunDir) -> None:
    started = RunStarted(run_id="r", settings={"engine": "script"})
    again = (Scalars(source="report", values={"accuracy": 0.5}), started, steps(1, 7.0), REST[-1])
    record(run, (started, *REST[:3], *again))
    assert log_command(run.id, "--to", "tensorboard").returncode == 0
    found = read_back(run.directory / "tensorboard")
    assert scalars(found, "train/loss") == [(1, 7.0)]
    # Logged at step 3 of the first start, it went with that.
    assert scalars(found, "script/accuracy") == []


def test_scalars_of_a_script_have_tags_that_every_logger_takes() -> None:
    values = EventValues()
    list(values.of(steps(4, 1.0)))
    (fact,) = values.of(Scalars(source="ultralytics", values={"metrics/mAP50(B)": 0.25, "//é": 1.0}))
    assert isinstance(fact, logged_values.Scalars)
    assert (fact.step, fact.values) == (4, {"script/metrics/mAP50_B_": 0.25, "script/_": 1.0})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("last", "--to", "tensorbord"), "did you mean 'tensorboard'?"),
        (("last", "--to", "tensorboard", "--dir", "."), "is not empty"),
    ],
)
def test_an_unloggable_run_is_bad_input(run: RunDir, arguments: tuple[str, ...], message: str) -> None:
    record(run, BEGUN)
    done = log_command(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_missing_package_is_named_with_its_remedy() -> None:
    with pytest.raises(BadInput, match=r"pip install 'gputrain-tui\[no-such-logger\]'"):
        logger_choice.require(["tensorboard", "no-such-logger"])


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def told_by(loggers: LoggerProcesses) -> list[Notice]:
    """What is told about them, once there is something."""
    deadline = time.monotonic() + TIMEOUT
    while not (told := list(loggers.check())):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return told


@pytest.fixture
def owner(run: RunDir) -> Iterator[subprocess.Popen[str]]:
    """Somebody who owns the run, until told to leave."""
    child = hold_lock(run)
    yield child
    child.communicate()


def logger_of(run: RunDir) -> psutil.Process:
    """The logger's process, once the kernel tells its command line: for a moment after its start there is none."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if {str(run.directory), "-P"} <= set(child.cmdline()):
                    return child
        time.sleep(0.02)
    pytest.fail("no logger was started")


def test_a_live_run_is_followed_until_it_has_no_supervisor(run: RunDir, owner: subprocess.Popen[str]) -> None:
    record(run, BEGUN)
    loggers = LoggerProcesses(run, ["tensorboard"])
    process = logger_of(run)
    wait_for(lambda: list((run.directory / "tensorboard").glob("events.*")))
    record(run, REST)
    assert not list(loggers.check())
    loggers.close()
    assert process.is_running()
    owner.communicate()
    assert process.wait(TIMEOUT) == 0
    assert not list(loggers.check())
    assert scalars(read_back(run.directory / "tensorboard"), "train/loss") == [(1, 2.5), (3, 1.5)]


def test_a_failing_logger_is_reported_once(run: RunDir, owner: subprocess.Popen[str]) -> None:
    record(run, BEGUN)
    (run.directory / "tensorboard").write_text("in the way")
    loggers = LoggerProcesses(run, ["tensorboard"])
    (notice,) = told_by(loggers)
    assert notice.level == "warning"
    assert "logging to tensorboard ended (exit code 1): tensorboard: " in notice.text
    assert f"gputrain-tui log {run.id} --to tensorboard" in notice.text
    assert not list(loggers.check())


def test_a_hanging_logger_is_reported_once_and_killed_at_the_end(run: RunDir, owner: subprocess.Popen[str]) -> None:
    record(run, BEGUN)
    loggers = LoggerProcesses(run, ["tensorboard"], silent_seconds=2.0)
    process = logger_of(run)
    process.send_signal(signal.SIGSTOP)
    (notice,) = told_by(loggers)
    assert "logging to tensorboard has made no progress for 2 s" in notice.text
    assert not list(loggers.check())
    loggers.close()
    assert not process.is_running()


@pytest.mark.long
def test_a_run_logs_itself(run: RunDir, tmp_path: Path) -> None:
    """Through the supervisor, which does not wait: its logger goes on alone, and then ends."""
    run.config.write_text("dataset: imagefolder\ndata_dir: /nowhere\nmonitor:\n  loggers: tensorboard\n")
    child = subprocess.run([sys.executable, "-P", "-m", "gputrain.engine", str(run.directory)], timeout=TIMEOUT)
    assert child.returncode == 0
    folder = run.directory / "tensorboard"

    def told() -> bool:
        return folder.exists() and "outcome" in read_back(folder).Tags()["tensors"]

    wait_for(told)
    assert read_back(folder).Tensors("outcome")[0].tensor_proto.string_val[0].startswith(b"failed: ")
    wait_for(lambda: not [p for p in psutil.process_iter(["cmdline"]) if _logs(p, run)])


def _logs(process: psutil.Process, run: RunDir) -> bool:
    return str(run.directory) in (process.info["cmdline"] or []) and process.pid != os.getpid()
