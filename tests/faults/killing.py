"""Processes of a run that are killed without warning, at random moments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import psutil
from faultlab import Finding, Lab, ending, gone, last_step, let_go, lost, newest_checkpoint

from gputrain.engine import launch
from gputrain.engine.commands import Checkpoint
from gputrain.engine.events import CheckpointSaved, ModelReady, Notice, Outcome, Steps
from gputrain.engine.runs import State

WORKERS: dict[str, Any] = {"loader": "processes", "num_workers": 2, "hang_seconds": 3.0}
"""A run with data workers of its own, watched closely."""


def dashboard(lab: Lab) -> Finding:
    """kill -9 of whoever watches."""
    live = lab.running()
    command = [sys.executable, "-m", "gputrain.tui.cli", "tail", str(live.run.directory), "--json"]
    watcher = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert watcher.stdout is not None
    if lab.random.random() < 0.8:
        # Else it is killed while it starts.
        watcher.stdout.readline()
    time.sleep(lab.random.uniform(0, 0.3))
    watcher.kill()
    watcher.communicate()
    live.steps_on()
    return Finding(psutil.pid_exists(live.trainer), lost(live.run))


def supervisor(lab: Lab) -> Finding:
    """kill -9 of the supervisor: the trainer saves and ends, and the run is known to have died."""
    live = lab.running()
    time.sleep(lab.random.uniform(0, 0.5))
    os.kill(live.supervisor, signal.SIGKILL)
    gone(live.trainer)
    let_go(live.run)
    status = live.run.status()
    assert status is not None
    untrained = max(0, last_step(live.run) - newest_checkpoint(live.run))
    true = status.state is State.DIED and "supervisor is gone" in status.reason
    return Finding(true, lost(live.run) + untrained, status.reason)


def trainer_outlives_supervisor(lab: Lab) -> Finding:
    """The trainer stands still while its supervisor is killed and the run goes on: both never save into it at once."""
    live = lab.running()
    time.sleep(lab.random.uniform(0, 0.3))
    # A reader that looked while nobody owned the run would take it for dead for half a second more.
    old, since = live.trainer, live.newest + 1
    os.kill(live.trainer, signal.SIGSTOP)
    done = last_step(live.run)
    os.kill(live.supervisor, signal.SIGKILL)
    let_go(live.run)
    launch.start(live.run, resume=True)
    live.until(Notice, lambda notice: f"trainer (pid {old}) of a killed supervisor" in notice.text, since=since)
    ready = live.until(ModelReady, since=since)
    live.trainer = ready.trainer_pid
    gone(old)
    # Steps of the old life may still be under way to this reader.
    again = live.until(Steps, since=ready.seq + 1)
    newest = newest_checkpoint(live.run)
    # The new life may have saved already; what the old one saved last must not lie over that.
    true = ready.start_step <= newest and ready.start_step < again.step
    return Finding(true, lost(live.run) + max(0, done - ready.start_step), f"it went on from step {newest}")


def trainer(lab: Lab) -> Finding:
    """kill -9 of the trainer: the checkpoint that was announced is there, and the end is called what it is."""
    live = lab.running()
    since = live.newest + 1
    live.attachment.send(Checkpoint(sender="fault"))
    saved = live.until(CheckpointSaved, since=since)
    time.sleep(lab.random.uniform(0, 0.5))
    os.kill(live.trainer, signal.SIGKILL)
    ended = ending(live)
    let_go(live.run)
    true = ended.outcome is Outcome.KILLED and ended.signal == signal.SIGKILL and "kill -9" in ended.reason
    return Finding(true and newest_checkpoint(live.run) >= saved.step, lost(live.run), ended.reason)


def trainer_while_saving(lab: Lab) -> Finding:
    """kill -9 of the trainer within a checkpoint: those that were complete before still are."""
    live = lab.running()
    since = live.newest + 1
    live.attachment.send(Checkpoint(sender="fault"))
    saved = live.until(CheckpointSaved, since=since)
    live.attachment.send(Checkpoint(sender="fault"))
    time.sleep(lab.random.uniform(0, 0.03))
    os.kill(live.trainer, signal.SIGKILL)
    ended = ending(live)
    let_go(live.run)
    return Finding(newest_checkpoint(live.run) >= saved.step, lost(live.run), ended.reason)


def data_worker(lab: Lab) -> Finding:
    """kill -9 of a data worker: another one does its batches, and training goes on with the very same samples."""
    live = lab.running(**WORKERS)
    since = live.newest + 1
    time.sleep(lab.random.uniform(0, 0.3))
    os.kill(lab.random.choice(data_workers(live.trainer)), signal.SIGKILL)
    told = live.until(Notice, lambda notice: "data worker" in notice.text, since=since)
    live.steps_on()
    return Finding(psutil.pid_exists(live.trainer), lost(live.run), told.text)


def data_workers(trainer_pid: int) -> list[int]:
    """Process ids of a trainer's data workers: the children of the server that they are forked from."""
    children = psutil.Process(trainer_pid).children(recursive=True)
    servers = {child.pid for child in children if "forkserver" in " ".join(child.cmdline())}
    return [child.pid for child in children if child.ppid() in servers]
