"""Whether a trainer still gives signs of life, and what can be said of one that does not."""

from __future__ import annotations

import os
import signal

import psutil

from gputrain.engine.events import AnyEvent, ModelReady, Phase, PhaseChanged

STACKS_SIGNAL = signal.SIGUSR2
"""Makes a trainer write the stack of each of its threads into trainer.log (`faulthandler`)."""
_NAMED = 3
_WATCHED = (Phase.WARMING_UP, Phase.TRAINING, Phase.VALIDATING, Phase.SCANNING_DATA, Phase.SAVING)
"""Phases in which something is said at least every few seconds, or every step where a step takes longer."""


class Watchdog:
    """Fed with the trainer's events and asked now and then. Times are seconds of the monotonic clock."""

    def __init__(self, limit: float) -> None:
        """`limit`: seconds of silence that mean a hang; 0: none does."""
        self._limit = limit
        self._heard: float | None = None
        self._phase = Phase.STARTING
        self._pid: int | None = None
        self._told = False

    def hear(self, event: AnyEvent, now: float) -> str:
        """The trainer said something; returns what to tell if it was thought to hang, else an empty text."""
        silent = now - self._heard if self._told and self._heard is not None else None
        self._heard, self._told = now, False
        if isinstance(event, PhaseChanged):
            self._phase = event.phase
        if isinstance(event, ModelReady):
            self._pid = event.trainer_pid
        return f"the trainer goes on, after {silent:.0f} s" if silent is not None else ""

    def check(self, now: float) -> str:
        """What to tell of a trainer that has been silent for too long; once a silence. It is asked for its stacks."""
        if self._told or not self._limit or self._heard is None or now - self._heard < self._limit:
            return ""
        if self._phase not in _WATCHED or self._pid is None:
            return ""
        self._told = True
        return (
            f"no sign of life from the trainer for {now - self._heard:.0f} s in '{self._phase}': {_examine(self._pid)}"
        )


def _examine(pid: int) -> str:
    """What a silent process and its children are at; one that can run is asked for its stacks."""
    try:
        process = psutil.Process(pid)
        if (state := _state(process)) != "":
            return state
        os.kill(pid, STACKS_SIGNAL)
        family = process.children(recursive=True)
    except (psutil.Error, OSError):
        return "it is gone"
    states = [state for child in family if (state := _state(child))]
    found = "; ".join(states[:_NAMED]) or "it hangs, or a step takes longer than hang_seconds"
    return f"{found}; what its threads are at is in trainer.log"


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
