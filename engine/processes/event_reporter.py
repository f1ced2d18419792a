"""Events from the trainer to its supervisor: bounded, and never in the way of a step."""

from __future__ import annotations

import os
import queue
import time
from collections import deque
from multiprocessing.queues import Queue

import msgspec

from gputrain.engine import events
from gputrain.engine.common import past_durations
from gputrain.engine.events import AnyEvent, Notice, Phase, PhaseChanged, Steps

_RARE_SECONDS = 2.0
_PROGRESS_SECONDS = 0.2
_REMEMBERED = 100


class EventReporter:
    """Puts events into the queue to the supervisor."""

    def __init__(self, outbox: Queue[bytes]) -> None:
        self._outbox = outbox
        self._dropped = 0
        self._supervisor = os.getppid()
        self._phase: tuple[Phase, str] | None = None
        self._phase_began = 0.0
        self._phase_key = ""
        self._progress_sent = 0.0
        self.newest: deque[str] = deque(maxlen=_REMEMBERED)
        """What was said last."""

    @property
    def supervised(self) -> bool:
        """The supervisor that started this process is still its parent."""
        return os.getppid() == self._supervisor

    def send(self, event: AnyEvent) -> None:
        """A rare event; waits up to two seconds for room in the queue."""
        try:
            self._outbox.put(events.encode(event), timeout=_RARE_SECONDS)
        except queue.Full:
            self._dropped += 1

    def steps(self, event: Steps) -> None:
        """A window of steps; dropped and counted when the queue is full, so that no step ever waits for a reader."""
        try:
            self._outbox.put_nowait(events.encode(msgspec.structs.replace(event, dropped=self._dropped)))
            self._dropped = 0
        except queue.Full:
            self._dropped += 1

    def notice(self, level: str, text: str) -> None:
        """A sentence for the person: ``info``, ``warning`` or ``error``."""
        self.newest.append(text)
        self.send(msgspec.convert({"type": "notice", "level": level, "text": text}, Notice))

    def phase(self, phase: Phase, detail: str = "", key: str = "") -> None:
        """The run begins something else. `key`: by what its duration is known the next time."""
        now = time.monotonic()
        # What was broken off tells nothing about how long it takes.
        if self._phase_key and phase not in (Phase.PAUSED, Phase.STOPPING):
            past_durations.remember(self._phase_key, now - self._phase_began)
        self._phase, self._phase_began, self._phase_key, self._progress_sent = (phase, detail), now, key, 0.0
        before = past_durations.recall(key) if key else None
        self.send(PhaseChanged(phase=phase, detail=detail, eta_seconds=before.seconds if before else None))

    def progress(self, done: float, total: float | None, unit: str) -> None:
        """How far the present phase is; told at most five times a second, with the time that is left."""
        now = time.monotonic()
        if self._phase is None or (now - self._progress_sent < _PROGRESS_SECONDS and done != total):
            return
        self._progress_sent = now
        eta = (now - self._phase_began) * (total - done) / done if total and done else None
        phase, detail = self._phase
        self.send(PhaseChanged(phase=phase, detail=detail, done=done, total=total, unit=unit, eta_seconds=eta))

    def close(self) -> None:
        """Flush what was sent; not to a supervisor that is gone, whose queue nobody would ever empty."""
        self._outbox.close()
        if self.supervised:
            self._outbox.join_thread()
        else:
            self._outbox.cancel_join_thread()
