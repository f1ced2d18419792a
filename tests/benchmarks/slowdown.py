"""Cost of a supervisor, and the slowdown of a training while dashboards watch it.

One real training on the CPU runs while no, one or three dashboards watch it, or another monitor runs, in turns of some
seconds. All programs are open all the time; those that are not watching are stopped (SIGSTOP) and process their
backlog afterwards, so their cost is rather over- than underestimated. A round goes through all turns and back again,
which cancels drift. The result is the median over many rounds of the difference from the turns without watchers.
"""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from terminals import TIMEOUT, Terminal

from gputrain.engine.configuration import settings
from gputrain.engine.events import AnyEvent, Steps
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.runs.event_log import RecordReader
from gputrain.engine.runs.run_directory import RunDir

DASHBOARDS = 3
NOBODY, ONE, THREE = "nobody", "1 dashboard", "3 dashboards"
_SETTLE_SECONDS = 5.0
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
    """Turns by watcher, two for each round."""

    turns: dict[str, list[Turn]] = field(default_factory=dict)
    supervisor_rss_mib: float | None = None

    def percent(self, who: str, *, by_cpu: bool = False) -> tuple[float | None, float | None]:
        """Slowdown while `who` watched: the median over the rounds, and half of its 95 % confidence interval."""

        def rates(turns: list[Turn]) -> list[float]:
            each = [turn.images_per_cpu_second if by_cpu else turn.images_per_second for turn in turns]
            return [(up + down) / 2 for up, down in zip(each[::2], each[1::2], strict=True)]

        if who not in self.turns:
            return None, None
        pairs = zip(rates(self.turns[NOBODY]), rates(self.turns[who]), strict=True)
        found = sorted((1 - beside / alone) * 100 for alone, beside in pairs if alone)
        if not found:
            return None, None
        # Ranks of a binomial distribution's interval: nothing is assumed about how rounds scatter.
        first = max(0, int(len(found) / 2 - 0.98 * math.sqrt(len(found))))
        return statistics.median(found), (found[len(found) - 1 - first] - found[first]) / 2

    def supervisor(self, who: str) -> float | None:
        """CPU of the supervisor in percent of a core, mean: it samples once a second, so turns differ."""
        found = [turn.supervisor_percent for turn in self.turns.get(who, [])]
        return statistics.fmean(found) if found else None


@contextmanager
def training(images: Path) -> Iterator[RunDir]:
    """A run on `images` until the block ends, on one core: threads that wait for each other would use CPU time."""
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
        attachment.send(StopCommand(checkpoint=False, sender="benchmark"))
        while not (attachment.ended or attachment.abandoned):
            attachment.read()
        attachment.close()


def measure(
    images: Path, rounds: int, seconds: float, env: Mapping[str, str], others: Mapping[str, Sequence[str]]
) -> Slowdown:
    """Run a training through `rounds` of turns of `seconds` each. `others`: other monitors' commands by name."""
    # Who looks, as the programs' numbers: the dashboards come first.
    turns = {NOBODY: range(0), ONE: range(1), THREE: range(DASHBOARDS)}
    turns |= {name: range(DASHBOARDS + place, DASHBOARDS + place + 1) for place, name in enumerate(others)}
    found = Slowdown({who: [] for who in turns})
    with training(images) as run, RecordReader(run.events) as record:
        _wait_for_steps(record)
        ours = [sys.executable, "-m", "gputrain.tui.cli", "tail", run.id]
        programs: list[Terminal] = []
        try:
            for command in (*[ours] * DASHBOARDS, *others.values()):
                programs.append(Terminal(command, env))
                programs[-1].painted.wait(TIMEOUT)
            time.sleep(_SETTLE_SECONDS)
            for _ in range(rounds):
                for who in (*turns, *reversed(turns)):
                    for number, program in enumerate(programs):
                        program.hold(number not in turns[who])
                    found.turns[who].append(_turn(run, record, seconds))
            found.supervisor_rss_mib = _supervisor(run).memory_info().rss / (1 << 20)
        finally:
            for program in programs:
                program.close()
    return found


def _wait_for_steps(record: RecordReader) -> None:
    deadline = time.monotonic() + 120
    while not any(isinstance(event, Steps) for event in record.poll()):
        if time.monotonic() > deadline:
            raise TimeoutError("the training did not begin within two minutes")
        time.sleep(0.1)


def _supervisor(run: RunDir) -> psutil.Process:
    status = run.status()
    assert status is not None
    return psutil.Process(status.pid)


def _turn(run: RunDir, record: RecordReader, seconds: float) -> Turn:
    supervisor = _supervisor(run)
    _all(record)
    before = _cpu(supervisor), _children_cpu(supervisor)
    began = time.perf_counter()
    time.sleep(seconds)
    elapsed = time.perf_counter() - began
    after = _cpu(supervisor), _children_cpu(supervisor)
    windows = [event for event in _all(record) if isinstance(event, Steps)]
    images = sum(window.images_per_second * window.window_seconds for window in windows)
    trained = sum(window.window_seconds for window in windows)
    rate = images / trained if trained else 0.0
    return Turn(
        images_per_second=rate,
        # The windows end a little before or after the turn does: their rate, over its own time.
        images_per_cpu_second=rate * elapsed / max(1e-9, after[1] - before[1]),
        supervisor_percent=(after[0] - before[0]) / elapsed * 100,
    )


def _all(record: RecordReader) -> list[AnyEvent]:
    found: list[AnyEvent] = []
    while events := record.poll():
        found += events
    return found


def _cpu(process: psutil.Process) -> float:
    """Seconds on a CPU, to the nanosecond: turns are short, and the usual counters tick a hundred times a second."""
    found = 0
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += int((task / "schedstat").read_text().split()[0])
    return found / 1e9


def _children_cpu(process: psutil.Process) -> float:
    return sum(_cpu(child) for child in process.children(recursive=True))
