"""Sends events from the trainer to its supervisor through a bounded queue; a training step never waits for it."""

from __future__ import annotations

import contextlib
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
        """The texts of the newest notices."""

    @property
    def supervised(self) -> bool:
        """Whether the supervisor that started this process is still its parent."""
        return os.getppid() == self._supervisor

    def send(self, event: AnyEvent) -> None:
        """Send a rare event; waits up to two seconds for space in the queue."""
        try:
            self._outbox.put(events.encode(event), timeout=_RARE_SECONDS)
        except queue.Full:
            self._dropped += 1

    def forward(self, encoded: list[bytes]) -> None:
        """Send encoded events of other ranks, all as one item of the queue. If it is full they are dropped."""
        with contextlib.suppress(queue.Full):
            self._outbox.put_nowait(b"\n".join(encoded))

    def steps(self, event: Steps) -> None:
        """Send a window of steps. If the queue is full it is dropped and counted: no step waits for a reader."""
        try:
            self._outbox.put_nowait(events.encode(msgspec.structs.replace(event, dropped=self._dropped)))
            self._dropped = 0
        except queue.Full:
            self._dropped += 1

    def notice(self, level: str, text: str) -> None:
        """Send a sentence for the user; `level` is ``info``, ``warning`` or ``error``."""
        self.newest.append(text)
        self.send(msgspec.convert({"type": "notice", "level": level, "text": text}, Notice))

    def phase(self, phase: Phase, detail: str = "", key: str = "") -> None:
        """Begin another phase. `key`: under which its duration is remembered for the next time."""
        now = time.monotonic()
        # The duration of an interrupted phase is not remembered.
        if self._phase_key and phase not in (Phase.PAUSED, Phase.STOPPING):
            past_durations.remember(self._phase_key, now - self._phase_began)
        self._phase, self._phase_began, self._phase_key, self._progress_sent = (phase, detail), now, key, 0.0
        before = past_durations.recall(key) if key else None
        self.send(PhaseChanged(phase=phase, detail=detail, eta_seconds=before.seconds if before else None))

    def progress(self, done: float, total: float | None, unit: str) -> None:
        """Report the progress of the current phase, with the time left; at most five times a second."""
        now = time.monotonic()
        if self._phase is None or (now - self._progress_sent < _PROGRESS_SECONDS and done != total):
            return
        self._progress_sent = now
        eta = (now - self._phase_began) * (total - done) / done if total and done else None
        phase, detail = self._phase
        self.send(PhaseChanged(phase=phase, detail=detail, done=done, total=total, unit=unit, eta_seconds=eta))

    def close(self) -> None:
        """Flush the queue, unless the supervisor has ended: nothing would read it."""
        self._outbox.close()
        if self.supervised:
            self._outbox.join_thread()
        else:
            self._outbox.cancel_join_thread()
