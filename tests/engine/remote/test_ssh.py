"""Runs on "another machine": a real sshd on loopback, a real ssh, connections that are really cut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pexpect
import pytest
from fakes.images import dark_and_light
from fakes.sshd import Sshd, needs_sshd, sshd

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.events import (
    AnyEvent,
    CommandTaken,
    LogLine,
    Notice,
    Outcome,
    RunEnded,
    RunStarted,
    Steps,
)
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.launching.attachment import NotLiveError
from gputrain.engine.remote import reconnecting_attachment, remote_outline
from gputrain.engine.remote.reconnecting_attachment import RemoteAttachment
from gputrain.engine.remote.remote_runs import list_runs
from gputrain.engine.remote.ssh_link import Frame, Frames, LinkLostError
from gputrain.engine.runs import event_log, run_directory
from gputrain.engine.runs.event_log import RecordWriter
from gputrain.engine.runs.remote_name import RemoteName
from gputrain.engine.runs.run_directory import RunDir, State, Status
from gputrain.engine.runs.run_labels import write_marks
from gputrain.tui.cli.main import main

pytestmark = needs_sshd()
TIMEOUT = 150.0
COMMAND = [sys.executable, "-m", "gputrain.tui.cli"]


@pytest.fixture
def box(private_homes: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A machine whose runs are this test's own; this side has none."""
    passed = {name: os.environ[name] for name in ("GPUTRAIN_HOME", "PYTHONPATH") if name in os.environ}
    with sshd(private_homes / "sshd", passed) as server:
        monkeypatch.setenv("GPUTRAIN_SSH", server.ssh)
        yield server


def until(remote: RemoteAttachment, wanted: Callable[[list[AnyEvent]], bool]) -> list[AnyEvent]:
    deadline = time.monotonic() + TIMEOUT
    found: list[AnyEvent] = []
    while not wanted(found):
        assert time.monotonic() < deadline, (remote.trouble, remote.caught_up, len(found), found[-1:])
        found += remote.read()
    return found


def gather(stream: IO[str], lines: list[str], training: threading.Event) -> None:
    """All lines of `stream`, up to its end; `training` is set by the first that tells of steps."""
    for line in stream:
        lines.append(line)
        if '"type":"steps"' in line:
            training.set()


def written(run: RunDir, count: int) -> RecordWriter:
    writer = RecordWriter(run.events)
    for number in range(count):
        writer.append(Notice(level="info", text=f"event {number}"))
    return writer


def status_of(run: RunDir, state: State, heartbeat: float) -> None:
    run.write_status(Status(state=state, started=heartbeat, heartbeat=heartbeat, pid=1, pid_started=1.0, boot_id="x"))


@pytest.mark.long
def test_no_event_is_missed_or_repeated_after_lost_connections(box: Sshd) -> None:
    run = run_directory.create("cut")
    status_of(run, State.RUNNING, time.time())
    writer = written(run, 2000)
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.002):
            writer.append(Notice(level="info", text="x" * 300))

    thread = threading.Thread(target=write)
    thread.start()
    remote = reconnecting_attachment.attach(RemoteName("box", "cut"))
    found = until(remote, lambda found: len(found) >= 2000)
    for _ in range(3):
        assert box.cut() >= 1
        found += until(remote, lambda _: bool(remote.trouble))
        found += until(remote, lambda fresh: len(fresh) > 30)
    stop.set()
    thread.join()
    writer.append(RunEnded(outcome=Outcome.FINISHED, reason="all steps are done"))
    writer.close()
    found += until(remote, lambda _: remote.ended)
    remote.close()
    assert found == list(event_log.read(run.events))
    assert [event.seq for event in found] == list(range(1, len(found) + 1))


def test_an_unreachable_host_is_retried(box: Sshd) -> None:
    run = run_directory.create("away")
    status_of(run, State.RUNNING, time.time())
    writer = written(run, 10)
    remote = reconnecting_attachment.attach(RemoteName("box", run.id))
    found = until(remote, lambda found: len(found) == 10)
    box.stop()
    until(remote, lambda _: "refused" in remote.trouble)
    writer.append(Notice(level="info", text="written meanwhile"))
    box.start()
    found += until(remote, lambda found: len(found) == 1)
    assert remote.trouble == ""
    assert [event.seq for event in found] == list(range(1, 12))
    remote.close()


def test_a_replaced_record_is_read_again(box: Sshd) -> None:
    run = run_directory.create("replaced")
    status_of(run, State.RUNNING, time.time())
    written(run, 10).close()
    remote = reconnecting_attachment.attach(RemoteName("box", run.id))
    until(remote, lambda found: len(found) == 10)
    run.events.unlink()
    (run.directory / "events.jsonl").write_bytes(b"{}\n" * 3)
    written(run, 300).close()
    box.cut()
    found = until(remote, lambda found: bool(found) and found[-1].seq == 300)
    assert [event.seq for event in found] == list(range(11, 301))
    remote.close()


@pytest.fixture
def long_run(box: Sshd, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A record of some megabytes, which counts as long here."""
    for name, value in {"LONG_BYTES": 1 << 20, "END_BYTES": 1 << 16, "PARTS": 20, "MILESTONE_BYTES": 1 << 14}.items():
        monkeypatch.setattr(remote_outline, name, value)
    run = run_directory.create("long")
    status_of(run, State.RUNNING, time.time() + 3600)
    writer = RecordWriter(run.events)
    for number in range(20_000):
        if number % 100 == 0:
            writer.append(Notice(level="info", text=f"milestone {number}"))
        writer.append(LogLine(text=f"line {number} {'x' * 100}"))
    writer.close()
    return run


def test_only_the_outline_of_a_long_record_is_sent(
    long_run: RunDir, box: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    take = Frames.take

    def counted(self: Frames, data: bytes) -> list[Frame]:
        taken.append(len(data))
        return take(self, data)

    monkeypatch.setattr(Frames, "take", counted)
    remote = reconnecting_attachment.attach(RemoteName("box", "last"), outlined=True)
    found = until(remote, lambda _: remote.caught_up)
    size = long_run.events.stat().st_size
    assert sum(taken) < (1 << 16) + 20 * remote_outline.PART_BYTES + (1 << 14) * 2 + 20_000 < size / 5
    numbers = [event.seq for event in found]
    assert numbers == sorted(set(numbers))
    whole = {event.seq: event for event in event_log.read(long_run.events)}
    assert all(whole[event.seq] == event for event in found)
    assert numbers[-1] == max(whole)
    assert {event for event in found if event.seq >= remote.sparse_until} == {
        event for event in whole.values() if event.seq >= remote.sparse_until
    }
    # Some of all parts: of the first lines, of those between, and the oldest and newest milestones.
    assert {number * 20 // len(whole) for number in numbers} == set(range(20)) | {20}
    kept = [event.text for event in found if isinstance(event, Notice)]
    assert kept[0] == "milestone 0"
    assert len(kept) > 100
    box.cut()
    writer = RecordWriter(long_run.events)
    writer.append(Notice(level="info", text="after the cut"))
    writer.close()
    assert [event.text for event in until(remote, bool) if isinstance(event, Notice)] == ["after the cut"]
    remote.close()


def test_a_connection_lost_during_the_outline_starts_it_again(long_run: RunDir, box: Sshd) -> None:
    remote = reconnecting_attachment.attach(RemoteName("box", "last"), outlined=True)
    remote._take("O", (long_run.events.read_bytes()[:5000]))
    box.cut()
    found = until(remote, lambda _: remote.caught_up)
    numbers = [event.seq for event in found]
    assert numbers == sorted(set(numbers))
    assert 0 < remote.sparse_until <= numbers[-1] == 20_200
    remote.close()


def test_a_long_record_without_milestones_is_sent_whole(long_run: RunDir, box: Sshd) -> None:
    (long_run.directory / "milestones.jsonl").unlink()
    remote = reconnecting_attachment.attach(RemoteName("box", "last"), outlined=True)
    assert len(until(remote, lambda _: remote.caught_up)) == 20_200
    assert remote.sparse_until == 0
    remote.close()


def test_a_dead_remote_supervisor_is_detected(box: Sshd) -> None:
    run = run_directory.create("died")
    status_of(run, State.RUNNING, time.time() - 3600)
    written(run, 5).close()
    remote = reconnecting_attachment.attach(RemoteName("box", "last"))
    found = until(remote, lambda _: remote.abandoned)
    assert len(found) == 5
    ((info, _),) = list_runs(RemoteName("box", ""))
    assert info.run.id == run.id
    assert info.status is not None
    assert info.status.state is State.DIED
    remote.close()


def test_unreachable_hosts_and_unknown_runs_are_reported(box: Sshd) -> None:
    with pytest.raises(BadInput, match="there are no runs yet"):
        reconnecting_attachment.attach(RemoteName("box", "last"))
    run = run_directory.create("demo")
    run.events.touch()
    with pytest.raises(BadInput, match=f"did you mean '{run.id}'"):
        reconnecting_attachment.attach(RemoteName("box", f"{run.id}x"))
    with pytest.raises(BadInput, match="not a run directory"):
        reconnecting_attachment.attach(RemoteName("box", "/nowhere/at all; touch pwned"))
    with pytest.raises(BadInput, match="no run is called"):
        reconnecting_attachment.attach(RemoteName("box", ".."))
    remote = reconnecting_attachment.attach(RemoteName("box", str(run.directory)))
    assert remote.run.id == f"box:{run.directory}"
    assert remote.read() == []
    with pytest.raises(NotLiveError, match="is not visible from a login there"):
        remote.send(StopCommand())
    remote.close()
    box.stop()
    with pytest.raises(LinkLostError, match="refused"):
        reconnecting_attachment.attach(RemoteName("box", "last"))
    box.start()


def test_remote_runs_have_names_tags_and_notes(box: Sshd, capfd: pytest.CaptureFixture[str]) -> None:
    for label in ("first", "second"):
        run = run_directory.create(label)
        writer = written(run, 3)
        writer.append(RunEnded(outcome=Outcome.FINISHED, reason="done", step=3))
        writer.close()
        status_of(run, State.FINISHED, time.time())
    write_marks(run, name="my \x1b[31mbest", add=["keep"], note="look at the loss")
    broken = run_directory.create("third")
    (broken.directory / "marks.json").write_text('{"name": 3}')
    assert main(["runs", "box:", "--tag", "keep", "--json"]) == 0
    (found,) = map(json.loads, capfd.readouterr().out.splitlines())
    assert (found["run"], found["name"], found["tags"]) == (run.id, "my best", ["keep"])
    assert found["note"] == "look at the loss"
    remote = reconnecting_attachment.attach(RemoteName("box", "my best"))
    assert remote.run.id == f"box:{run.id}"
    remote.close()
    assert main(["stop", "box:my best"]) == 0
    assert "is not running" in capfd.readouterr().out


@pytest.mark.parametrize("command", ["export", "compare", "resume", "clone", "mark", "log", "delete", "serve"])
def test_unsupported_remote_commands_are_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = {"export": ["x.csv"], "compare": ["last"], "log": ["--to", "tensorboard"]}.get(command, [])
    assert main([command, "box:last", *more]) == 2
    assert "is a run on another machine: tail, diagnose and stop" in capsys.readouterr().err


def test_no_name_is_run_as_a_command(box: Sshd, private_homes: Path) -> None:
    for name in ("a b", "$(touch pwned)", "'; touch pwned; '", "-n", "~/x", "a\\b", "*", "`touch pwned`"):
        odd = private_homes / "odd" / name
        odd.mkdir(parents=True)
        written(RunDir(odd), 3).close()
        remote = reconnecting_attachment.attach(RemoteName("box", str(odd)))
        assert len(until(remote, lambda found: len(found) == 3)) == 3
        remote.close()
    assert not list(private_homes.rglob("pwned"))
    assert not (Path.home() / "pwned").exists()


def test_login_output_is_skipped_and_an_empty_home_is_reported(box: Sshd, private_homes: Path) -> None:
    """What the user's own start-up files print comes before the record; the other end needs only a POSIX shell."""
    run = run_directory.create("talk")
    written(run, 3).close()
    config = box.folder / "sshd_config"
    talk = private_homes / "talk.sh"
    talk.write_text(
        '#!/bin/sh\nprintf "Welcome!\\nD 5\\nhelloE\\n"\nPATH=/usr/bin:/bin exec sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    talk.chmod(0o700)
    box.stop()
    config.write_text(config.read_text() + f"ForceCommand {talk}\n")
    box.start()
    remote = reconnecting_attachment.attach(RemoteName("box", "talk"))
    assert [event.seq for event in until(remote, lambda found: len(found) == 3)] == [1, 2, 3]
    remote.close()


@pytest.mark.long
def test_a_live_run_is_watched_and_stopped_remotely(box: Sshd, tmp_path: Path) -> None:
    """The whole way, by the command line, with the connection cut in mid-run."""
    values = {
        "device": "cpu",
        "dataset": "imagefolder",
        "data_dir": str(dark_and_light(tmp_path / "images", 8)),
        "image_size": 32,
        "val_resize": 32,
        "batch_size": 4,
        "num_workers": 1,
        "loader": "threads",
        "width": 4,
        "epochs": 100_000,
        "precision": "fp32",
        "val_split": "",
        "checkpoint_epochs": 0,
        "sample_seconds": 0.2,
        "recipe": "test",
    }
    run = launch.launch(settings.build(values))
    command = [*COMMAND, "tail", "box:last", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        lines: list[str] = []
        training = threading.Event()
        # Nothing is seen of a cut by a tail that waits for its reader.
        reader = threading.Thread(target=gather, args=(tail.stdout, lines, training), daemon=True)
        reader.start()
        assert training.wait(TIMEOUT)
        box.cut()
        assert "no connection, trying again" in tail.stderr.readline()
        remote = reconnecting_attachment.attach(RemoteName("box", run.id[-8:]))
        found = until(remote, lambda found: any(isinstance(event, Steps) for event in found))
        assert isinstance(found[0], RunStarted)
        listed = subprocess.run([*COMMAND, "runs", "box:", "--json"], capture_output=True, text=True)
        assert json.loads(listed.stdout)["state"] == "running", listed
        stopped = subprocess.run([*COMMAND, "stop", "box:last"], capture_output=True, text=True)
        assert stopped.returncode == 0, stopped
        assert stopped.stdout.startswith(f"box:{run.id}: stopped at step"), stopped
        found += until(remote, lambda _: remote.ended)
        remote.close()
        assert tail.wait(TIMEOUT) == 3
        reader.join(TIMEOUT)
    taken = next(event for event in found if isinstance(event, CommandTaken))
    assert "@" in taken.sender
    assert json.loads(lines[-1])["type"] == "summary"
    whole = list(event_log.read(run.events))
    assert found == whole
    first = json.loads(lines[0])["seq"]
    assert [json.loads(line)["seq"] for line in lines[:-1]] == list(range(first, len(whole) + 1))


def test_the_dashboard_of_a_remote_run(box: Sshd) -> None:
    run = run_directory.create("demo")
    # Of a row that changes only the signs that differ are sent: what is waited for shares none with its forerunner.
    writer = written(run, 50)
    writer.append(Notice(level="info", text="ALLTHERE"))
    status_of(run, State.RUNNING, time.time() + 3600)
    screen = pexpect.spawn(
        sys.executable,
        ["-m", "gputrain.tui.cli", "tail", "box:last"],
        dimensions=(40, 140),
        timeout=TIMEOUT,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    screen.expect("ALLTHERE")
    box.stop()
    screen.expect("no connection")
    box.start()
    writer.append(Notice(level="info", text="BEYONDIT"))
    screen.expect("BEYONDIT")
    screen.send("d")
    screen.expect("watch it again with: gputrain-tui tail box:")
    screen.close()
    writer.close()
