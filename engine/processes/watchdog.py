"""Watchdog: detects a trainer that has not sent an event for too long, and collects why."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import psutil

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import AnyEvent, Phase, PhaseChanged
from gputrain.engine.processes import hanging_ranks
from gputrain.engine.processes.rank_board import EXCHANGE, STACKS, RankPlace, read_board, read_reports, stacks_file

STACKS_SIGNAL = signal.SIGUSR2
"""Makes a trainer or a data worker write the stack of each of its threads into trainer.log (`faulthandler`)."""
NO_EVENTS = "no sign of life from the trainer"
RESUMED = "the trainer goes on"
"""Start of the two texts."""
_NAMED = 3
_SILENT = (Phase.COMPILING, Phase.PAUSED)
"""Phases without events while they last. All others send one every few seconds, or at every step if steps take longer,
or at their end.
"""
_MAX_WORKERS = 8
"""Data workers whose stacks are requested at most."""
_PAUSE_SECONDS = 0.05
"""Pause between two requests, so that the stacks do not mix in the log."""


class Watchdog:
    """Gets the trainer's events through `hear`; `check` is called regularly. Times: seconds of the monotonic clock."""

    def __init__(self, limit: float, directory: Path | None = None) -> None:
        """`limit`: seconds without an event that count as a hang; 0: never. `directory`: of a run, for its ranks."""
        self._limit, self._directory = limit, directory
        self._heard = 0.0
        self._phase = Phase.STARTING
        self._pid: int | None = None
        self._warned = False

    def began(self, pid: int | None, now: float) -> None:
        """The trainer was started."""
        self._pid, self._heard = pid, now

    def hear(self, event: AnyEvent, now: float) -> str:
        """An event arrived; returns a text if a hang was reported before, else ``""``."""
        silent = now - self._heard if self._warned else None
        self._heard, self._warned = now, False
        if isinstance(event, PhaseChanged):
            self._phase = event.phase
        return f"{RESUMED}, after {silent:.0f} s" if silent is not None else ""

    def check(self, now: float) -> str:
        """A warning once the trainer has been silent for too long, else ``""``. Also requests its stacks."""
        if self._warned or not self._limit or self._pid is None or now - self._heard < self._limit:
            return ""
        if self._phase in _SILENT:
            return ""
        self._warned = True
        ranks = (_launched_ranks(self._directory) or _examine_ranks(self._directory)) if self._directory else ""
        what = ranks or _examine(self._pid)
        return f"{NO_EVENTS} for {now - self._heard:.0f} s in '{self._phase}': {what}"


def _examine_ranks(directory: Path) -> str:
    """Which rank the others wait for; empty with a single rank. Requests the stacks of all."""
    places = [place for place in read_board(directory) if psutil.pid_exists(place.pid)]
    if len(places) < 2:
        return ""
    stopped: dict[int, str] = {}
    for place in places:
        with contextlib.suppress(psutil.Error):
            if state := _state(psutil.Process(place.pid)):
                stopped[place.rank] = state
            else:
                _request_stacks(psutil.Process(place.pid))
    files = {place.rank: stacks_file(directory, place.rank) for place in places}
    stacks = {rank: hanging_ranks.read_stacks(file) for rank, file in files.items()}
    lines = {rank: hanging_ranks.main_line(text) for rank, text in stacks.items()}
    # Divided weights are exchanged within the forward and the backward pass.
    places = [_by_stack(place, stacks[place.rank]) for place in places]
    found = hanging_ranks.verdict(places, lines, stopped, time.monotonic())
    found = found or "the ranks hang, or this takes longer than hang_seconds"
    return f"{found}; the stacks of each rank are in {STACKS}.*.txt"


def _by_stack(place: RankPlace, stacks: str) -> RankPlace:
    return replace(place, place=EXCHANGE) if hanging_ranks.waits_in_collective(stacks) else place


def _launched_ranks(directory: Path) -> str:
    """Which rank the others wait for, of ranks that a launcher started on any machine; empty if that is not known."""
    now = time.monotonic()
    reports = read_reports(directory)
    places = [RankPlace(one.rank, 0, one.step, one.place, now - one.seconds) for one in reports]
    lines, hosts = {one.rank: one.line for one in reports}, {one.rank: one.host for one in reports}
    found = hanging_ranks.verdict(places, lines, {}, now, hosts)
    late = next((one for one in reports if found.startswith(f"rank {one.rank} ")), None)
    newest = max(reports, key=lambda one: one.collectives, default=None)
    if late is None or newest is None or not 0 <= late.collectives < newest.collectives:
        return found
    name = plain(newest.collective, 60)
    return f"{found}; others have begun collective {newest.collectives} ({name}), it collective {late.collectives}"


def _examine(pid: int) -> str:
    """The state of a silent process and its children; requests the stacks of those that can run."""
    try:
        process = psutil.Process(pid)
        if (state := _state(process)) != "":
            return state
        family = process.children(recursive=True)
        states = {child.pid: state for child in family if (state := _state(child))}
        own = process.cmdline()
        workers = [child for child in family if child.pid not in states and _is_worker(child, own)]
        requested = _request_stacks(process) + sum(_request_stacks(worker) for worker in workers[:_MAX_WORKERS])
    except (psutil.Error, OSError):
        return "it has ended"
    found = "; ".join(list(states.values())[:_NAMED]) or "it hangs, or this takes longer than hang_seconds"
    more = f" and those of {requested - 1} of its data workers" if requested > 1 else ""
    return f"{found}; the stacks of its threads{more} are in trainer.log" if requested else found


def _is_worker(child: psutil.Process, trainer_command: list[str]) -> bool:
    """Whether a process was forked by the trainer or its fork server, and is not another program."""
    try:
        command = child.cmdline()
    except psutil.Error:
        return False
    return command == trainer_command or any("multiprocessing.forkserver" in word for word in command)


def _request_stacks(process: psutil.Process) -> int:
    """Send `STACKS_SIGNAL`; returns 1, or 0 if the process has no handler: the signal would end it."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
        if not caught >> (STACKS_SIGNAL - 1) & 1:
            return 0
        os.kill(process.pid, STACKS_SIGNAL)
    except (OSError, StopIteration):
        return 0
    time.sleep(_PAUSE_SECONDS)
    return 1


def _state(process: psutil.Process) -> str:
    """Why a process cannot run, in words; empty if it can, or has ended."""
    try:
        state = process.status()
    except psutil.Error:
        return ""
    if state == psutil.STATUS_STOPPED:
        return f"process {process.pid} is stopped by a signal; kill -CONT {process.pid} continues it"
    if state == psutil.STATUS_DISK_SLEEP:
        return f"process {process.pid} waits for a disk or network mount that does not respond"
    return ""
