"""Looks at the ranks of a script twice, some seconds apart: their stacks, and the CPU time of their main threads."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from gputrain.engine.stacks import rank_waits
from gputrain.engine.stacks.faulthandler_text import own_line
from gputrain.engine.stacks.process_roles import environment_number
from gputrain.engine.stacks.stack_collection import AskedProcess, ask
from gputrain.engine.user_script.hang_verdict import BUSY

_BETWEEN_SECONDS = 3.0
"""Between the two looks."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Places:
    """Where a rank is."""

    rank: int
    waits: str = ""
    line: str = ""
    stopped: str = ""
    unknown: str = ""
    doubts: tuple[str, ...] = ()
    """These five are those of `hang_verdict.RankLook`."""


@dataclass(frozen=True, slots=True)
class _Sight:
    """One look at one rank."""

    frames: tuple[str, ...] = ()
    """Of its main thread, or of the data worker that it waits for."""
    missing: str = "which cannot give one: the probe is kept out, or it has ended"
    """Why there are no frames; empty: there are."""
    blocked: bool = False
    """It cannot run, for the reason in `missing`."""
    worker: int = 0
    """Process id of that worker; 0: these are the rank's own frames."""
    cpu: float = 0.0
    """Seconds of CPU that this thread has used."""
    at: float = 0.0


def look(ranks: Mapping[int, int], *, on_device: bool) -> dict[int, Places]:
    """Where the ranks are, by process id. `ranks`: those known by process id; others are found by ``RANK``.

    Takes some seconds. `on_device`: they train on GPUs.
    """
    known = {**_without_page(ranks), **ranks}
    first = _sights(known)
    time.sleep(_BETWEEN_SECONDS)
    second = _sights(known)
    return {pid: _place(rank, first[pid], second[pid], on_device=on_device) for pid, rank in known.items()}


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _without_page(ranks: Mapping[int, int]) -> dict[int, int]:
    """Other processes of the command that are ranks by their environment: those that did nothing with torch so far."""
    family = {one.pid: one for one in psutil.Process().children(recursive=True)}
    # The agent that started the ranks may be a rank of something itself.
    agents = {parent.pid for pid in ranks if pid in family for parent in _parents(family[pid])}
    taken, found = set(ranks.values()), dict[int, int]()
    for pid in sorted(set(family) - agents):
        number = environment_number(pid, "RANK")
        # A pod of Kubernetes has RANK without any rank being started.
        if number is None or number in taken or environment_number(pid, "LOCAL_RANK") is None or not is_running(pid):
            continue
        taken.add(number)
        found[pid] = number
    return found


def _parents(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.parents()
    except psutil.Error:
        return []


def _sights(ranks: Mapping[int, int]) -> dict[int, _Sight]:
    asked = {one.process.pid: one for one in ask(_processes(ranks), lambda process: f"rank {ranks[process.pid]}")}
    found = dict.fromkeys(ranks, _Sight())
    for pid, one in asked.items():
        found[pid] = _sight(one)
        if found[pid].frames and rank_waits.waits_for_data(found[pid].frames):
            found[pid] = _worker_sight(one.process) or found[pid]
    return found


def _processes(pids: Mapping[int, int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        try:
            found.append(psutil.Process(pid))
        except psutil.Error:
            continue
    return found


def _sight(one: AskedProcess, worker: int = 0) -> _Sight:
    frames = one.threads[-1].frames if one.threads else ()
    missing = "" if frames else (one.missing or "which has no Python frame")
    return _Sight(frames, missing, one.blocked, worker, _cpu_seconds(one.process.pid), time.monotonic())


def _worker_sight(rank: psutil.Process) -> _Sight | None:
    """The data worker of a rank that is not idle; None without one."""
    try:
        children = rank.children(recursive=True)
    except psutil.Error:
        return None
    for one in ask(children, lambda _: "data worker"):
        frames = one.threads[-1].frames if one.threads else ()
        if one.blocked or (rank_waits.is_worker(frames) and not rank_waits.is_idle_worker(frames)):
            return _sight(one, one.process.pid)
    return None


def _cpu_seconds(pid: int) -> float:
    """CPU time of the main thread of a process; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _place(rank: int, first: _Sight, second: _Sight, *, on_device: bool) -> Places:
    whose = f"its data worker {second.worker}: " if second.worker else ""
    if second.blocked and first.blocked:
        return Places(rank, stopped=whose + second.missing)
    if second.missing:
        return Places(rank, unknown=whose + second.missing)
    line = own_line(second.frames)
    share = (second.cpu - first.cpu) / max(0.1, second.at - first.at) if first.worker == second.worker else 0.0
    waits = "" if second.worker else rank_waits.waits_in(second.frames, on_device=on_device)
    if waits == rank_waits.BACKWARD and not on_device and share >= BUSY:
        # It computes, on the thread that would wait.
        waits = ""
    if waits:
        return Places(rank, waits, line)
    doubts = rank_waits.doubts(second.frames)
    if first.frames and rank_waits.own_frames(first.frames) != rank_waits.own_frames(second.frames):
        doubts.append("it was at another line some seconds before")
    if share >= BUSY:
        doubts.append(f"it uses {min(1.0, share):.0%} of a core")
    if second.worker:
        line = f"{line}, in its data worker {second.worker}"
    return Places(rank, line=line, doubts=tuple(doubts))
