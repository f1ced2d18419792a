"""The kernel ends a training because its control group ran out of memory."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from faultlab import TIMEOUT, Finding, Lab, lost, newest_checkpoint

from gputrain.engine.events import AnyEvent, CheckpointSaved, Outcome, RunEnded, RunStarted, decode
from gputrain.engine.runs import run_directory

E = TypeVar("E")
LIMIT_MB = 1200
"""Room for torch and a small network, not for what the data set hoards."""
HOARD = '''
"""Pictures, each of which takes 20 MB for good once the run is under way."""

import torch
from torch.utils.data import Dataset


class Pictures(Dataset):
    classes = 2
    kept = []
    given = 0

    def __len__(self):
        return 1000

    def __getitem__(self, index):
        Pictures.given += 1
        if Pictures.given > 40:
            self.kept.append(bytearray(b"x" * (20 << 20)))
        return torch.full((3, 32, 32), index % 250, dtype=torch.uint8), index % 2


def make(data_dir):
    return Pictures()
'''


def cannot_limit_memory() -> str:
    """Why no control group with a limit can be made; empty if it can."""
    try:
        with _group() as group:
            return "" if group.exists() else "no control group can be made here"
    except OSError as error:
        return f"no control group with a memory limit can be made here: {error.strerror or error}"


def _own_group() -> tuple[Path, str]:
    """The memory control group of this process, and the file of its limit."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return Path(f"/sys/fs/cgroup/memory{path}"), "memory.limit_in_bytes"
        if not controllers and Path("/sys/fs/cgroup/cgroup.controllers").exists():
            return Path(f"/sys/fs/cgroup{path}"), "memory.max"
    raise OSError("this process is in no memory control group")


@contextlib.contextmanager
def _group() -> Iterator[Path]:
    """A control group below this process's own, with a limit; gone afterwards. Raises OSError."""
    home, limit = _own_group()
    group = Path(tempfile.mkdtemp(prefix="gputrain-fault-", dir=home))
    try:
        (group / limit).write_text(str(LIMIT_MB << 20))
        yield group
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            group.rmdir()
        except OSError:
            # The kernel still counts a process of it that has just ended.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def out_of_memory(lab: Lab) -> Finding:
    """A control group runs out of memory: the reason of the end is correct, and the checkpoints before it are whole."""
    code = lab.folder / "code"
    code.mkdir(exist_ok=True)
    (code / "hoard.py").write_text(HOARD)
    changes = lab.config(
        dataset="custom", custom="hoard:make", code_dir=str(code), augment="none", num_workers=0, checkpoint_steps=4
    )
    given = [f"{name}={value}" for name, value in changes.items() if name not in ("recipe", "data_dir")]
    train = [sys.executable, "-m", "gputrain.tui.cli", "train", "--recipe", "custom", "--data", str(lab.images)]
    with _group() as group:
        command = ["sh", "-c", f'echo $$ > "{group}/cgroup.procs" && exec "$@"', "sh", *train, "--json", *given]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    events = [event for line in done.stdout.splitlines() if (event := decode(line.encode())) is not None]
    ended = _only(events, RunEnded, done.stderr)
    run = run_directory.find(_only(events, RunStarted, done.stderr).run_id)
    saved = max((event.step for event in events if isinstance(event, CheckpointSaved)), default=0)
    true = ended.outcome is Outcome.KILLED and ended.reason.startswith("the kernel's OOM killer ended the trainer")
    return Finding(true and 0 < saved <= newest_checkpoint(run), lost(run), ended.reason)


def _only(events: list[AnyEvent], kind: type[E], otherwise: str) -> E:
    found = next((event for event in events if isinstance(event, kind)), None)
    assert found is not None, otherwise
    return found
