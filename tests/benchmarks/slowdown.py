"""What a supervisor costs, and how much slower a training runs while dashboards look at it.

A real training on the CPU goes on while 0, 1 and 3 dashboards are attached in turns; each turn is compared with the one
without any in the same round, because other work on the machine comes and goes.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from terminals import PATIENCE, Terminal

from gputrain.engine import launch, settings
from gputrain.engine.commands import Stop
from gputrain.engine.events import AnyEvent, Steps
from gputrain.engine.record import RecordReader
from gputrain.engine.runs import RunDir

ATTACHED = (0, 1, 3)
SETTINGS = {
    "device": "cpu",
    "dataset": "imagefolder",
    "image_size": 32,
    "val_resize": 32,
    "batch_size": 16,
    "num_workers": 1,
    "loader": "threads",
    "width": 8,
    "model": "simple_cnn",
    "epochs": 1_000_000,
    "precision": "fp32",
    "val_split": "",
    "checkpoint_epochs": 0,
    "recipe": "benchmark",
}


@dataclass(slots=True)
class Turn:
    """Some seconds of training."""

    images_per_second: float
    images_per_cpu_second: float
    """Of the trainer's own CPU time."""
    supervisor_percent: float
    """CPU of the supervisor, of one core."""


@dataclass(slots=True)
class Slowdown:
    """Turns by the number of dashboards."""

    turns: dict[int, list[Turn]] = field(default_factory=lambda: {count: [] for count in ATTACHED})

    def percent(self, count: int, *, by_cpu: bool = False) -> tuple[float | None, float | None]:
        """How much slower training was with `count` dashboards: median over the rounds, and half the range of them."""

        def rate(turn: Turn) -> float:
            return turn.images_per_cpu_second if by_cpu else turn.images_per_second

        pairs = zip(self.turns[0], self.turns[count], strict=True)
        found = [(1 - rate(beside) / rate(alone)) * 100 for alone, beside in pairs if rate(alone)]
        return (statistics.median(found), (max(found) - min(found)) / 2) if found else (None, None)

    def supervisor(self, count: int) -> float | None:
        """CPU of the supervisor in percent of a core, median."""
        found = [turn.supervisor_percent for turn in self.turns[count]]
        return statistics.median(found) if found else None


@contextmanager
def training(images: Path) -> Iterator[RunDir]:
    """A run on `images` that goes on until it is left, on one core: threads that wait for each other burn CPU time."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        run = launch.launch(settings.build({**SETTINGS, "data_dir": str(images)}))
    finally:
        os.sched_setaffinity(0, cores)
    try:
        yield run
    finally:
        attachment = launch.attach(run)
        attachment.send(Stop(checkpoint=False, sender="benchmark"))
        while not (attachment.ended or attachment.abandoned):
            attachment.read()
        attachment.close()


def measure(images: Path, rounds: int, seconds: float, env: Mapping[str, str]) -> Slowdown:
    """Let a training go on through `rounds` of turns of `seconds` each."""
    found = Slowdown()
    with training(images) as run, RecordReader(run.events) as record:
        _wait_for_steps(record)
        time.sleep(min(10.0, seconds))
        for _ in range(rounds):
            for count in ATTACHED:
                command = [sys.executable, "-m", "gputrain.tui.cli", "tail", run.id]
                dashboards = [Terminal(command, env) for _ in range(count)]
                try:
                    for dashboard in dashboards:
                        dashboard.painted.wait(PATIENCE)
                    time.sleep(min(3.0, seconds))
                    found.turns[count].append(_turn(run, record, seconds))
                finally:
                    for dashboard in dashboards:
                        dashboard.close()
    return found


def _wait_for_steps(record: RecordReader) -> None:
    deadline = time.monotonic() + 120
    while not any(isinstance(event, Steps) for event in record.poll()):
        if time.monotonic() > deadline:
            raise TimeoutError("the training did not begin within two minutes")
        time.sleep(0.1)


def _turn(run: RunDir, record: RecordReader, seconds: float) -> Turn:
    status = run.status()
    assert status is not None
    supervisor = psutil.Process(status.pid)
    _all(record)
    before = _cpu(supervisor), _children_cpu(supervisor)
    began = time.perf_counter()
    time.sleep(seconds)
    elapsed = time.perf_counter() - began
    after = _cpu(supervisor), _children_cpu(supervisor)
    windows = [event for event in _all(record) if isinstance(event, Steps)]
    images = sum(window.images_per_second * window.window_seconds for window in windows)
    trained = sum(window.window_seconds for window in windows)
    return Turn(
        images_per_second=images / trained if trained else 0.0,
        images_per_cpu_second=images / max(1e-9, after[1] - before[1]),
        supervisor_percent=(after[0] - before[0]) / elapsed * 100,
    )


def _all(record: RecordReader) -> list[AnyEvent]:
    found: list[AnyEvent] = []
    while events := record.poll():
        found += events
    return found


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _children_cpu(process: psutil.Process) -> float:
    return sum(_cpu(child) for child in process.children(recursive=True))
