"""Asks the processes of a run for the stacks of their threads, and groups those that are equal.

A process is asked by `stack_dump.SIGNAL`, and only if it holds the file that its handler writes to: the signal would
end another one.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from gputrain.engine.events.stacks import ProcessAsked, SharedStack, StacksTaken
from gputrain.engine.probe.on_request import stack_dump
from gputrain.engine.stacks.faulthandler_text import ThreadStack, own_line, parse

ANSWER_SECONDS = 3.0
"""Time for a process to write its stacks."""
_POLL_SECONDS = 0.02
_QUIET_POLLS = 3
"""Polls without growth after which a dump is complete."""
_MAX_BYTES = 1 << 20
MAX_PROCESSES, MAX_STACKS, MAX_FRAMES, MAX_NAMES = 256, 100, 60, 32
NONE_FOUND = (
    "no process of the run can give its stacks: none is Python with torch, or the probe is kept out "
    "(--no-inject, python -I, -E or -S, a container, another host)"
)


_ONE_AT_A_TIME = threading.Lock()
"""Two that ask the same process would empty each other's file."""


@dataclass(slots=True)
class AskedProcess:
    """A process, and its answer."""

    process: psutil.Process
    role: str
    file: Path
    missing: str = ""
    """Why it gave no stacks; empty: it gave them."""
    blocked: bool = False
    """It cannot run, for the reason in `missing`, and was not asked."""
    threads: list[ThreadStack] = field(default_factory=list)
    """The main thread is the last one."""


def collect(request: str, family: Iterable[psutil.Process], role_of: Callable[[psutil.Process], str]) -> StacksTaken:
    """The stacks of all processes in `family` that can give them; `role_of` names a process. Takes some tenths of a
    second.
    """
    asked = ask(family, role_of)
    return grouped(request, asked_processes(asked), {f"{one.role} {one.process.pid}": one.threads for one in asked})


def ask(family: Iterable[psutil.Process], role_of: Callable[[psutil.Process], str]) -> list[AskedProcess]:
    """The processes in `family` that can give their stacks, with what they answered. Callable from any thread."""
    with _ONE_AT_A_TIME:
        asked = [one for process in family if (one := _ask_for(process, role_of)) is not None][:MAX_PROCESSES]
        _take(asked)
    return asked


def asked_processes(asked: Sequence[AskedProcess]) -> tuple[ProcessAsked, ...]:
    """What the record says of each process."""
    return tuple(
        ProcessAsked(
            pid=one.process.pid,
            role=one.role,
            threads=len(one.threads),
            at=own_line(one.threads[-1].frames) if one.threads else "",
            missing=one.missing,
        )
        for one in asked
    )


def grouped(
    request: str, processes: tuple[ProcessAsked, ...], stacks: Mapping[str, Sequence[ThreadStack]]
) -> StacksTaken:
    """The event of those stacks, by process; equal ones are one."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for process, threads in stacks.items():
        for thread in threads:
            groups[thread.frames[:MAX_FRAMES]].append(f"{process}, {thread.name}")
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    lines = Counter(one.at for one in processes if one.at)
    line, share = lines.most_common(1)[0] if lines else ("", 0)
    return StacksTaken(
        request=request,
        processes=processes,
        stacks=tuple(
            SharedStack(frames=frames, threads=tuple(names[:MAX_NAMES]), count=len(names))
            for frames, names in ordered[:MAX_STACKS]
        ),
        line=line,
        share=share,
        left_out=max(0, len(ordered) - MAX_STACKS),
        text="" if processes else NONE_FOUND,
    )


def _ask_for(process: psutil.Process, role_of: Callable[[psutil.Process], str]) -> AskedProcess | None:
    """The process with its file; None if it is another program, or has ended."""
    try:
        file = _stacks_file(process.pid)
        if file is None or not _is_caught(process.pid):
            return None
        state = process.status()
        one = AskedProcess(process, role_of(process), file)
    except (psutil.Error, OSError, ValueError):
        return None
    if state == psutil.STATUS_STOPPED:
        one.missing = f"it is stopped by a signal; kill -CONT {process.pid} continues it"
    elif state == psutil.STATUS_DISK_SLEEP:
        one.missing = "it waits for a disk or network mount that does not respond"
    one.blocked = bool(one.missing)
    return one


def _stacks_file(pid: int) -> Path | None:
    """The path of the file that this process's handler writes to; None without one."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.endswith(" (deleted)") and f"/{stack_dump.NAME}" in target.replace("memfd:", ""):
            return link
    return None


def _is_caught(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (stack_dump.SIGNAL - 1) & 1)


def _take(asked: Sequence[AskedProcess]) -> None:
    """Ask all at once, but those that share a file (a process and its forked children) one after the other."""
    by_file: dict[tuple[int, int], list[AskedProcess]] = defaultdict(list)
    for one in asked:
        if one.missing:
            continue
        try:
            found = one.file.stat()
            by_file[found.st_dev, found.st_ino].append(one)
        except OSError:
            one.missing = "it has ended"
    queues = [list(reversed(queue)) for queue in by_file.values()]
    while queues:
        sent = [one for queue in queues if _send(one := queue.pop())]
        _read(sent)
        queues = [queue for queue in queues if queue]


def _send(one: AskedProcess) -> bool:
    try:
        os.truncate(one.file, 0)
        os.kill(one.process.pid, stack_dump.SIGNAL)
    except OSError:
        one.missing = "it has ended"
        return False
    return True


def _read(asked: Sequence[AskedProcess]) -> None:
    """Wait until each of them has written its stacks, or the time is over."""
    deadline = time.monotonic() + ANSWER_SECONDS
    sizes = dict.fromkeys((one.process.pid for one in asked), 0)
    quiet = dict(sizes)
    open_ones = list(asked)
    while open_ones and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        for one in list(open_ones):
            pid = one.process.pid
            try:
                size = one.file.stat().st_size
            except OSError:
                one.missing = "it has ended"
                open_ones.remove(one)
                continue
            quiet[pid] = quiet[pid] + 1 if size == sizes[pid] else 0
            sizes[pid] = size
            if size and quiet[pid] >= _QUIET_POLLS:
                open_ones.remove(one)
                _finish(one)
    for one in open_ones:
        _finish(one)
        if not one.threads:
            one.missing = f"it did not answer within {ANSWER_SECONDS:.0f} s"


def _finish(one: AskedProcess) -> None:
    try:
        with one.file.open("rb") as file:
            one.threads = parse(file.read(_MAX_BYTES).decode("utf-8", "replace"))
        os.truncate(one.file, 0)
    except OSError:
        one.missing = "it has ended"
