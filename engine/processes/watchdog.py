"""Whether a trainer still gives signs of life, and what can be said of one that does not."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil

from gputrain.engine.events import AnyEvent, Phase, PhaseChanged

STACKS_SIGNAL = signal.SIGUSR2
"""Makes a trainer or a data worker write the stack of each of its threads into trainer.log (`faulthandler`)."""
SILENT = "no sign of life from the trainer"
GOES_ON = "the trainer goes on"
"""How what is told begins."""
_NAMED = 3
_SILENT = (Phase.COMPILING, Phase.PAUSED)
"""Phases that may last without a word. In all others something is said at least every few seconds, at every step where
a step takes longer, or at their end.
"""
_ASKED = 8
"""Data workers that are asked for their stacks: more of them would tell no more."""
_PAUSE_SECONDS = 0.05
"""Between two that are asked, so that their stacks come one after the other."""


class Watchdog:
    """Fed with the trainer's events and asked now and then. Times are seconds of the monotonic clock."""

    def __init__(self, limit: float) -> None:
        """`limit`: seconds of silence that mean a hang; 0: none does."""
        self._limit = limit
        self._heard = 0.0
        self._phase = Phase.STARTING
        self._pid: int | None = None
        self._told = False

    def began(self, pid: int | None, now: float) -> None:
        """The trainer was started."""
        self._pid, self._heard = pid, now

    def hear(self, event: AnyEvent, now: float) -> str:
        """The trainer said something; returns what to tell if it was thought to hang, else an empty text."""
        silent = now - self._heard if self._told else None
        self._heard, self._told = now, False
        if isinstance(event, PhaseChanged):
            self._phase = event.phase
        return f"{GOES_ON}, after {silent:.0f} s" if silent is not None else ""

    def check(self, now: float) -> str:
        """What to tell of a trainer that has been silent for too long; once a silence. It is asked for its stacks."""
        if self._told or not self._limit or self._pid is None or now - self._heard < self._limit:
            return ""
        if self._phase in _SILENT:
            return ""
        self._told = True
        return f"{SILENT} for {now - self._heard:.0f} s in '{self._phase}': {_examine(self._pid)}"


def _examine(pid: int) -> str:
    """What a silent process and its children are at; those that can run are asked for their stacks."""
    try:
        process = psutil.Process(pid)
        if (state := _state(process)) != "":
            return state
        family = process.children(recursive=True)
        states = {child.pid: state for child in family if (state := _state(child))}
        own = process.cmdline()
        asked = _ask(process) + sum(
            [_ask(child) for child in family if child.pid not in states and _is_worker(child, own)][:_ASKED]
        )
    except (psutil.Error, OSError):
        return "it is gone"
    found = "; ".join(list(states.values())[:_NAMED]) or "it hangs, or this takes longer than hang_seconds"
    workers = f" and those of {asked - 1} of its data workers" if asked > 1 else ""
    return f"{found}; what its threads{workers} are at is in trainer.log" if asked else found


def _is_worker(child: psutil.Process, trainers: list[str]) -> bool:
    """Whether a process was forked by the trainer, or by its server for that. Another program is left alone."""
    try:
        command = child.cmdline()
    except psutil.Error:
        return False
    return command == trainers or any("multiprocessing.forkserver" in word for word in command)


def _ask(process: psutil.Process) -> int:
    """Ask a process for its stacks; 0 if it is not prepared for that: the signal would end it."""
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
    """What keeps a process from running, in words; empty if nothing does, or it is gone."""
    try:
        state = process.status()
    except psutil.Error:
        return ""
    if state == psutil.STATUS_STOPPED:
        return f"process {process.pid} is stopped by a signal; kill -CONT {process.pid} lets it go on"
    if state == psutil.STATUS_DISK_SLEEP:
        return f"process {process.pid} waits for a disk or a network mount that does not answer"
    return ""
