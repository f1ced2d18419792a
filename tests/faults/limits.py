"""Faults of limits: full disks, file descriptors, permissions, shared memory."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from faultlab import TIMEOUT, Finding, Lab, end, ending, let_go, lost, newest_checkpoint, soft_limit

from gputrain.engine.events import (
    AnyEvent,
    CheckpointSaved,
    HardwareSample,
    Notice,
    Outcome,
    RunEnded,
    Steps,
    decode,
)
from gputrain.engine.events.commands import CheckpointCommand, StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.launching.attachment import Attachment


def disk_full_on_log(lab: Lab) -> Finding:
    """The record cannot grow for a while: watchers get all events, and all are written once there is space."""
    live = lab.running()
    live.steps_on()
    size = live.run.events.stat().st_size
    with soft_limit(live.supervisor, resource.RLIMIT_FSIZE, size + lab.random.randint(0, 400)):
        since = live.newest
        live.until(HardwareSample, since=since + 1)
        live.until(Steps, since=since + 5)
        held = live.run.events.stat().st_size <= size + 400
    live.until(Steps, since=live.newest + 5)
    return Finding(held, lost(live.run), "the record was completed afterwards")


def disk_full_on_checkpoint(lab: Lab) -> Finding:
    """A checkpoint does not fit: a warning is shown, earlier ones stay, training continues, the next one is saved."""
    live = lab.running()
    since = live.newest + 1
    live.attachment.send(CheckpointCommand(sender="fault"))
    before = live.until(CheckpointSaved, since=since)
    with soft_limit(live.trainer, resource.RLIMIT_FSIZE, lab.random.randint(0, 8192)):
        since = live.newest + 1
        live.attachment.send(CheckpointCommand(sender="fault"))
        told = live.until(Notice, lambda notice: "no checkpoint at step" in notice.text, since=since)
        live.steps_on()
        kept = newest_checkpoint(live.run) == before.step
    since = live.newest + 1
    live.attachment.send(CheckpointCommand(sender="fault"))
    live.until(CheckpointSaved, since=since)
    return Finding(kept, lost(live.run), told.text)


def cannot_mount() -> str:
    """Why no small disk can be had; empty if it can."""
    if os.geteuid() != 0:
        return "mounting a small tmpfs needs root"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True, text=True
        )
        if done.returncode:
            return f"no tmpfs can be mounted here: {done.stderr.strip()}"
        subprocess.run(["umount", folder], check=True)
    return ""


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A small file system on a loop device."""
    folder = tempfile.mkdtemp(prefix="small-disk-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "none", folder], check=True)
    try:
        yield Path(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        Path(folder).rmdir()


def small_disk_full(lab: Lab) -> Finding:
    """The disk of the run directories is full to the last byte, for the record, the status and a checkpoint at once."""
    before = os.environ.get("GPUTRAIN_HOME")
    with small_disk(4) as disk, _home(disk):
        live = lab.launch()
        try:
            live.until(Steps)
            ballast = _fill(disk)
            since = live.newest + 1
            live.attachment.send(CheckpointCommand(sender="fault"))
            told = live.until(Notice, lambda notice: "no checkpoint at step" in notice.text, since=since)
            live.steps_on()
            ballast.unlink()
            since = live.newest + 1
            live.attachment.send(StopCommand(sender="fault"))
            ended = ending(live)
            let_go(live.run)
            finding = Finding(ended.outcome is Outcome.STOPPED, lost(live.run), told.text)
        finally:
            end(live)
    assert os.environ.get("GPUTRAIN_HOME") == before
    return finding


@contextlib.contextmanager
def _home(folder: Path) -> Iterator[None]:
    before = os.environ.get("GPUTRAIN_HOME")
    os.environ["GPUTRAIN_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["GPUTRAIN_HOME"]
        else:
            os.environ["GPUTRAIN_HOME"] = before


def _fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass
    return ballast


def few_descriptors(lab: Lab) -> Finding:
    """The supervisor has no descriptor left while dashboards come: the run goes on, and they come in afterwards."""
    live = lab.running()
    with soft_limit(live.supervisor, resource.RLIMIT_NOFILE, 3 + lab.random.randint(0, 10)):
        late = [launch.attach(live.run) for _ in range(3)]
        seen = [one.read(timeout=0.5) for one in late]
        live.steps_on()
    last = late[0]
    _catch_up(last, live.newest)
    for one in late:
        one.close()
    return Finding(all(seen), lost(live.run), "dashboards read the record meanwhile")


def _catch_up(attachment: Attachment, number: int) -> None:
    seen = 0
    for _ in range(int(TIMEOUT)):
        found = attachment.read()
        seen = found[-1].seq if found else seen
        if seen >= number:
            return
    raise AssertionError(f"the late dashboard stays at {seen} of {number}")


def few_descriptors_at_start(lab: Lab) -> Finding:
    """A run under ``ulimit -n`` of a few dozen trains, or says what it lacks."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        live = lab.launch(loader="processes", num_workers=2, max_steps=8)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    try:
        ended = ending(live)
        let_go(live.run)
    finally:
        end(live)
    fine = ended.outcome is Outcome.FINISHED or "Too many open files" in ended.reason
    return Finding(fine, lost(live.run), ended.reason)


def cannot_drop_root() -> str:
    """Why a child cannot be bound by permissions; empty if it can."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "root is not bound by permissions, and setpriv is not installed"
    return ""


def cannot_unshare() -> str:
    """Why no /dev/shm of its own can be had; empty if it can."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=64k", "none", "/dev/shm"]
    if shutil.which("unshare") is None or subprocess.run(command, capture_output=True).returncode:
        return "no /dev/shm of its own can be mounted here"
    return ""


def read_only_home(lab: Lab) -> Finding:
    """The folder of all runs cannot be written: bad input, with the remedy, and nothing started."""
    home = lab.folder / f"readonly-{lab.random.getrandbits(32):x}"
    home.mkdir(mode=0o500)
    command = [sys.executable, "-m", "gputrain.tui.cli", "train", "--data", str(lab.images), "--plain"]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *command]
    done = subprocess.run(command, env={**os.environ, "GPUTRAIN_HOME": str(home)}, capture_output=True, text=True)
    said = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    true = done.returncode == 2 and "set GPUTRAIN_HOME to a folder that you can write" in said
    return Finding(true and "Traceback" not in done.stderr, len(list(home.iterdir())), said)


def little_shared_memory(lab: Lab) -> Finding:
    """/dev/shm has next to nothing left, as in a container: data workers need none of it."""
    events, ended = _with_shared_memory(lab, left=64)
    steps = sum(event.window_steps for event in events if isinstance(event, Steps))
    return Finding(ended.outcome is Outcome.FINISHED, abs(8 - steps), ended.reason)


def shared_memory_full(lab: Lab) -> Finding:
    """/dev/shm is full to the last byte: the run says so, and ends."""
    _, ended = _with_shared_memory(lab, left=0)
    return Finding(ended.outcome is Outcome.FAILED and "/dev/shm is full" in ended.reason, 0, ended.reason)


def _with_shared_memory(lab: Lab, left: int) -> tuple[list[AnyEvent], RunEnded]:
    """The events of a run of eight steps that sees a /dev/shm of its own with `left` KB free."""
    script = (
        f"mount -t tmpfs -o size={64 + left}k none /dev/shm && dd if=/dev/zero of=/dev/shm/full bs=1k count=64 "
        '2>/dev/null; exec "$@"'
    )
    changes = lab.config(loader="processes", num_workers=2, max_steps=8)
    given = [f"{name}={value}" for name, value in changes.items() if name not in ("recipe", "data_dir", "dataset")]
    train = [sys.executable, "-m", "gputrain.tui.cli", "train", "--data", str(lab.images), "--json"]
    command = ["unshare", "-m", "sh", "-c", script, "sh", *train, *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    events = [event for line in done.stdout.splitlines() if (event := decode(line.encode())) is not None]
    ended = next((event for event in events if isinstance(event, RunEnded)), None)
    assert ended is not None, done.stderr
    return events, ended
