"""Faults of ownership and time: stale sockets, reused pids, clocks that jump."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from unittest import mock

import psutil
from fakes.clock import SettableClock
from faultlab import TIMEOUT, Finding, Lab, end, ending, gone, let_go, lost

from gputrain.engine.events import Notice, Outcome, Steps
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.runs import event_log, run_directory
from gputrain.engine.runs.event_log import RecordWriter
from gputrain.engine.runs.run_directory import RunDir, State, Status
from gputrain.tui.cli.plain_output import PlainLines
from gputrain.tui.state.run_store import RunStore


def two_launches(lab: Lab) -> Finding:
    """A second supervisor for a run that has one: it refuses, and the run does not notice."""
    live = lab.running()
    command = [sys.executable, "-P", "-m", "gputrain.engine", str(live.run.directory)]
    others = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [other.communicate(timeout=TIMEOUT)[1] for other in others]
    live.steps_on()
    refused = all(other.returncode == 1 for other in others) and all("already has a supervisor" in s for s in said)
    return Finding(refused and live.supervisor not in {other.pid for other in others}, lost(live.run), said[0].strip())


def stale_socket(lab: Lab) -> Finding:
    """A killed supervisor leaves its socket: nobody hangs on it, and the run can be started in the same place."""
    live = lab.running()
    os.kill(live.supervisor, signal.SIGKILL)
    gone(live.trainer)
    let_go(live.run)
    dead = live.run.status()
    left = dead is not None and Path(dead.socket).is_socket()
    reader = launch.attach(live.run)
    while reader.read():
        pass
    died = reader.abandoned
    reader.close()
    before = live.newest
    launch.start(live.run)
    deadline = time.monotonic() + TIMEOUT
    while live.attachment.abandoned:
        # Who watches looks for an owner twice a second.
        live.events += live.attachment.read()
        assert time.monotonic() < deadline, "the new owner is not seen"
    live.until(Steps, since=before + 1)
    status = live.run.status()
    assert status is not None
    live.trainer = next(event.trainer_pid for event in reversed(live.events) if hasattr(event, "trainer_pid"))
    return Finding(left and died and not status.state.over, lost(live.run), "the socket of the dead one was replaced")


def reused_pid(lab: Lab) -> Finding:
    """The supervisor's pid belongs to somebody else by now: the run is not taken for a live one, nobody is killed."""
    run = run_directory.create("reused")
    with subprocess.Popen(["sleep", "600"]) as stranger:
        now = time.time()
        run.write_status(
            Status(
                state=State.RUNNING,
                started=now - 5,
                heartbeat=now,
                pid=stranger.pid,
                pid_started=psutil.Process(stranger.pid).create_time(),
                boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            )
        )
        run.events.touch()
        status = run.status()
        done = subprocess.run(
            [sys.executable, "-m", "gputrain.tui.cli", "stop", str(run.directory), "--now"],
            capture_output=True,
            text=True,
        )
        alive = stranger.poll() is None
        stranger.kill()
    assert status is not None
    return Finding(status.state is State.DIED and alive and "is not running" in done.stdout, 0, done.stdout.strip())


def clock_backwards(lab: Lab) -> Finding:
    """The wall clock jumps back by hours, and forth again: numbers, order and durations are not affected."""
    clock = SettableClock(lab.folder / "clock")
    with mock.patch.dict(os.environ, clock.env):
        live = lab.launch()
    try:
        live.until(Steps)
        for hours in (lab.random.randrange(1, 100), lab.random.randrange(1, 100), 0):
            clock.back(hours)
            live.steps_on()
        live.attachment.send(StopCommand(sender="fault"))
        ended = ending(live)
        let_go(live.run)
    finally:
        end(live)
    told = list(event_log.read(live.run.events))
    store, shown = RunStore(), PlainLines()
    store.apply_all(told)
    lines = sum(len(list(shown.take(event))) for event in told)
    jumped = min(after.wall - before.wall for before, after in pairwise(told)) < -3000
    steady = all(before.mono <= after.mono for before, after in pairwise(told))
    took, elapsed = told[-1].mono - told[0].mono, store.snapshot().elapsed
    timed = all(0 < event.window_seconds < took for event in told if isinstance(event, Steps))
    fine = jumped and steady and timed and abs(elapsed - took) < 1 and ended.outcome is Outcome.STOPPED and lines > 0
    return Finding(fine, lost(live.run), f"elapsed {elapsed:.0f} s")


def torn_record(lab: Lab) -> Finding:
    """The machine went down within a write: the torn line is passed over, and numbering goes on."""
    run = run_directory.create("torn")
    writer = RecordWriter(run.events)
    for number in range(20):
        writer.append(Notice(level="info", text=f"event {number}"))
    writer.close()
    whole = run.events.read_bytes()
    last = whole[:-1].rfind(b"\n") + 1
    kept = lab.random.randint(last, len(whole) - 1)
    run.events.write_bytes(whole[:kept])
    again = RecordWriter(run.events)
    again.append(Notice(level="info", text="after the crash"))
    again.close()
    numbers = [event.seq for event in event_log.read(run.events)]
    # The line that was within the write is the only one that may be gone, and its number is used again.
    return Finding(
        numbers == list(range(1, numbers[-1] + 1)), 20 - min(20, numbers[-1]), "the torn line is passed over"
    )


def damaged_files(lab: Lab) -> Finding:
    """Status, plan, index and key with bytes of anything: lists and readers say so and go on."""
    run: RunDir = run_directory.create("damaged")
    for name in ("status.json", "plan.json", "checkpoints/index.json", "channel.key", "events.jsonl"):
        (run.directory / name).write_bytes(lab.random.randbytes(lab.random.randint(0, 500)))
    commands = (["runs"], ["tail", str(run.directory), "--no-follow", "--plain"], ["stop", str(run.directory)])
    said = ""
    for command in commands:
        done = subprocess.run([sys.executable, "-m", "gputrain.tui.cli", *command], capture_output=True, text=True)
        said += done.stdout + done.stderr
    return Finding("Traceback" not in said, 0, said.strip().splitlines()[-1] if said.strip() else "")
