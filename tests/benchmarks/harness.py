"""Compares the speed of contenders: each in its own process, alternating, with medians.

Alternation and medians reduce the effect of other load on the machine. CPU-seconds are measured beside wall time,
because other load hardly affects them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from multiprocessing.connection import Connection
from typing import Any

import psutil

Pass = Callable[[], int]
"""Delivers one epoch to the caller and drops it; returns the number of images."""


TURN_SECONDS = 1.0
"""Least length of a turn: the kernel counts CPU time of processes in ticks of 10 ms."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One of the compared ways to do the work."""

    key: str
    name: str
    quality: str
    """How it is done, as far as it matters."""
    make: Callable[[Any], Pass]
    """Gets the setting, which must be picklable. Called in the contender's own process; ImportError says that it is
    not installed."""


@dataclass(slots=True)
class Result:
    """Results of a contender."""

    contender: Contender
    wall: list[float] = field(default_factory=list)
    """Images per second, by pass."""
    cpu: list[float] = field(default_factory=list)
    """Images per CPU-second, by pass."""
    reason: str = ""
    """Why there are no figures."""

    @property
    def per_second(self) -> float | None:
        """Median images per second."""
        return statistics.median(self.wall) if self.wall else None

    @property
    def per_cpu_second(self) -> float | None:
        """Median images per CPU-second."""
        return statistics.median(self.cpu) if self.cpu else None


class _Runner:
    """A contender's process."""

    def __init__(self, contender: Contender, setting: object) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, contender, setting))
        self.process.start()
        theirs.close()

    def turn(self) -> tuple[int, float, float] | str:
        """One turn: images, seconds and CPU-seconds; or the reason for failure."""
        try:
            self.pipe.send("turn")
            answer: tuple[int, float, float] | str = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(5)
            return f"its process left with exit code {self.process.exitcode}"
        return answer

    def end(self) -> None:
        self.pipe.close()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()


def _serve(pipe: Connection, contender: Contender, setting: object) -> None:
    try:
        one_pass = contender.make(setting)
        one_pass()  # warm: compilers, caches and workers are not what is compared
    except Exception as error:  # noqa: BLE001 - whatever keeps a peer from running is its reason
        pipe.recv()
        pipe.send(f"not installed: {error}" if isinstance(error, ImportError) else f"{type(error).__name__}: {error}")
        return
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        images, cpu, start = 0, _cpu_seconds(), time.perf_counter()
        while time.perf_counter() - start < TURN_SECONDS:
            images += one_pass()
        wall = time.perf_counter() - start
        pipe.send((images, wall, _cpu_seconds() - cpu))


def _cpu_seconds() -> float:
    """CPU time of this process and its living children."""
    own = psutil.Process()
    total = 0.0
    for process in [own, *own.children(recursive=True)]:
        times = process.cpu_times()
        total += times.user + times.system
        if process is own:
            total += times.children_user + times.children_system
    return total


def compare(contenders: Sequence[Contender], setting: object, rounds: int, lives: int = 1) -> list[Result]:
    """Run `contenders` alternately, `rounds` times, after one warm-up pass each.

    Repeat all of that `lives` times with new processes: the memory layout of a process makes it some percent faster or
    slower for its whole life.
    """
    results = [Result(contender) for contender in contenders]
    for _ in range(lives):
        _live(results, setting, rounds)
    return results


def _live(results: list[Result], setting: object, rounds: int) -> None:
    runners: list[_Runner] = []
    for result in results:
        # The first turn waits for the warm pass, so that no two of them ever work at once.
        runners.append(_Runner(result.contender, setting))
        _take(result, runners[-1].turn(), count=False)
    for _ in range(rounds):
        for result, runner in zip(results, runners, strict=True):
            if not result.reason:
                _take(result, runner.turn(), count=True)
    for runner in runners:
        runner.end()


def _take(result: Result, turn: tuple[int, float, float] | str, *, count: bool) -> None:
    if isinstance(turn, str):
        result.reason = turn
    elif count:
        images, wall, cpu = turn
        result.wall.append(images / wall)
        result.cpu.append(images / cpu)


def ratio(results: dict[str, Result], ours: str, theirs: str, *, wall: bool = False) -> tuple[float | None, str]:
    """Our images per CPU-second (or with `wall` per second) over theirs, and the reason if there is none.

    The median of the ratios per round: other load in a round slows both.
    """
    if ours not in results or theirs not in results:
        return None, "not run"
    first, second = results[ours], results[theirs]
    if first.reason or second.reason:
        return None, first.reason or second.reason
    pairs = zip(first.wall, second.wall, strict=True) if wall else zip(first.cpu, second.cpu, strict=True)
    return statistics.median(one / other for one, other in pairs), ""


def keep_compiled_sources() -> None:
    """Let Python keep compiled sources, as pip does when it installs a package.

    With PYTHONDONTWRITEBYTECODE each start compiles our sources again, but none of the peers', which are installed.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Versions of the compared packages; None for packages that are not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def report(figures: dict[str, Any], ratios: dict[str, Any], extra: dict[str, Any]) -> str:
    """The benchmark's answer as JSON."""
    return json.dumps({"figures": figures, "ratios": ratios, **extra}, indent=2)
