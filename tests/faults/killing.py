"""Processes of a run that are killed without warning, at random moments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import psutil
from faultlab import Finding, Lab, Live, end, ending, gone, last_step, let_go, lost, newest_checkpoint
from seen import different, samples, watched

from gputrain.engine.events import CheckpointSaved, ModelReady, Notice, Outcome, Steps
from gputrain.engine.events.commands import CheckpointCommand
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.launching import launch, resume_run
from gputrain.engine.runs.run_directory import State

WORKERS: dict[str, Any] = {"loader": "processes", "num_workers": 2, "hang_seconds": 3.0}
"""A run with data workers of its own, watched closely."""
STEPS = 300
"""Of a run one of whose workers is killed: enough to still be training then."""


def dashboard(lab: Lab) -> Finding:
    """kill -9 of a watching command."""
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
    """kill -9 of the supervisor: the trainer saves and exits, and the run's state is died."""
    live = lab.running()
    time.sleep(lab.random.uniform(0, 0.5))
    os.kill(live.supervisor, signal.SIGKILL)
    gone(live.trainer)
    let_go(live.run)
    status = live.run.status()
    assert status is not None
    untrained = max(0, last_step(live.run) - newest_checkpoint(live.run))
    true = status.state is State.DIED and "supervisor ended without a message" in status.reason
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
    """kill -9 of the trainer: the reason of the end is correct, and the run goes on from the announced checkpoint."""
    live = lab.running()
    since = live.newest + 1
    live.attachment.send(CheckpointCommand(sender="fault"))
    saved = live.until(CheckpointSaved, since=since)
    time.sleep(lab.random.uniform(0, 0.5))
    os.kill(live.trainer, signal.SIGKILL)
    ended = ending(live)
    let_go(live.run)
    true = ended.outcome is Outcome.KILLED and ended.signal == signal.SIGKILL and "kill -9" in ended.reason
    newest = newest_checkpoint(live.run)
    goes_on = _resumed(live) == newest >= saved.step
    return Finding(true and goes_on, lost(live.run), ended.reason)


def _resumed(live: Live) -> int:
    """Go on with a run that is over, until it trains; returns from which step."""
    live.attachment.close()
    before = live.newest
    resume_run.resume(live.run, resume_run.plan_from_run(live.run, {}, inspect_machine()))
    live.attachment = launch.attach(live.run)
    live.events.clear()
    ready = live.until(ModelReady, since=before + 1)
    live.trainer = ready.trainer_pid
    again = live.until(Steps, since=ready.seq)
    assert again.step > ready.start_step
    return ready.start_step


def trainer_while_saving(lab: Lab) -> Finding:
    """kill -9 of the trainer within a checkpoint: those that were complete before still are."""
    live = lab.running()
    since = live.newest + 1
    live.attachment.send(CheckpointCommand(sender="fault"))
    saved = live.until(CheckpointSaved, since=since)
    live.attachment.send(CheckpointCommand(sender="fault"))
    time.sleep(lab.random.uniform(0, 0.03))
    os.kill(live.trainer, signal.SIGKILL)
    ended = ending(live)
    let_go(live.run)
    return Finding(newest_checkpoint(live.run) >= saved.step, lost(live.run), ended.reason)


def data_worker(lab: Lab) -> Finding:
    """kill -9 of a data worker: another one does its batches, and training goes on with the very same samples."""
    live, log = watched(lab, **WORKERS, augment="flip", max_steps=STEPS)
    try:
        live.until(Steps)
        trainer = live.until(ModelReady).trainer_pid
        time.sleep(lab.random.uniform(0, 0.3))
        os.kill(lab.random.choice(data_workers(trainer)), signal.SIGKILL)
        told = live.until(Notice, lambda notice: "data worker" in notice.text)
        ended = ending(live)
        let_go(live.run)
    finally:
        end(live)
    fine = ended.outcome is Outcome.FINISHED and ended.step == STEPS
    return Finding(fine, lost(live.run) + different(samples(log), _undisturbed(lab)), told.text)


def _undisturbed(lab: Lab) -> list[str]:
    """The samples of the same training to which nothing happens, and that has no data workers."""
    if not lab.undisturbed:
        live, log = watched(lab, loader="threads", num_workers=0, augment="flip", max_steps=STEPS)
        try:
            ending(live)
            let_go(live.run)
        finally:
            end(live)
        lab.undisturbed = samples(log)
        assert len(lab.undisturbed) == 4 * STEPS
    return lab.undisturbed


def data_workers(trainer_pid: int) -> list[int]:
    """Process ids of a trainer's data workers: the children of the server that they are forked from."""
    children = psutil.Process(trainer_pid).children(recursive=True)
    servers = {child.pid for child in children if "forkserver" in " ".join(child.cmdline())}
    return [child.pid for child in children if child.ppid() in servers]
