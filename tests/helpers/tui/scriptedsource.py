"""A source of events controlled by a test."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from gputrain.engine.events import AnyEvent, RunEnded
from gputrain.engine.events.commands import AnyCommand
from helpers.tui.scripted import Script, start, training


@dataclass
class ScriptedRun:
    """Name and place of a scripted run."""

    id: str = "20261120-213000-resnet50-imagefolder"
    directory: Path = Path("/runs/20261120-213000-resnet50-imagefolder")


@dataclass
class ScriptedSource:
    """Hands out the events that were given to `feed`; records the commands that it was sent."""

    run: ScriptedRun = field(default_factory=ScriptedRun)
    abandoned: bool = False
    ended: bool = False
    caught_up: bool = True
    trouble: str = ""
    sparse_until: int = 0
    refuse: str = ""
    """Why commands are refused; empty: they are taken."""
    sent: list[AnyCommand] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._script = Script()
        self._waiting: list[AnyEvent] = []
        self._news = threading.Condition()

    def feed(self, *events: AnyEvent) -> None:
        """Let the next read see these events, numbered and timed half a second apart if they were not."""
        with self._news:
            for event in events:
                self._waiting.append(event if event.seq else self._script.at(event, 0.5))
            self._news.notify_all()

    def feed_training(self, seconds: int, gpus: int = 1) -> None:
        """Let the next read see a start and some seconds of training."""
        events = [self._script.at(event, 0.5) for event in start(gpus)]
        events += [self._script.at(event, later) for event, later in training(seconds, gpus)]
        self.feed(*events)

    def read(self, timeout: float = 0.5, limit: int = 5000) -> list[AnyEvent]:
        with self._news:
            self._news.wait_for(lambda: bool(self._waiting), timeout)
            taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        self.ended = self.ended or any(isinstance(event, RunEnded) for event in taken)
        return taken

    def send(self, command: AnyCommand) -> None:
        if self.refuse:
            raise OSError(self.refuse)
        self.sent.append(command)

    def close(self) -> None:
        self.closed.set()
