"""Foreign processes, with real processes."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gputrain.engine.events import ProcessSample
from gputrain.engine.monitor.processes.process_owners import ProcessOwners
from gputrain.engine.monitor.processes.top_processes import SLICE, TopProcesses

NOBODY: frozenset[int] = frozenset()


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    """A process in an endless loop, whose name contains an escape code."""
    evil = "\x1b[31mred\x07"
    process = subprocess.Popen([evil, "-S", "-c", "while True: pass", "neighbour"], executable=sys.executable)
    yield process
    process.kill()
    process.wait()


def found(foreign: TopProcesses, pid: int, ours: frozenset[int] = NOBODY) -> ProcessSample:
    """The sample of `pid`, as soon as there is one."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for sample in foreign.read(ours):
            if sample.pid == pid:
                return sample
        time.sleep(0.1)
    pytest.fail("it was never named")


def test_busy_process_is_listed_until_it_ends(busy: subprocess.Popen[bytes]) -> None:
    owners = ProcessOwners()
    foreign = TopProcesses(owners)
    first = found(foreign, busy.pid)
    assert first.cpu is not None
    assert 0.05 <= first.cpu <= 1.2
    assert first.rss is not None
    assert first.rss > 1 << 20
    assert (first.threads, first.state in "RS") == (1, True)
    # The name is sanitized; the user is known as soon as the lookup is done.
    assert first.name.endswith("neighbour")
    assert first.name.isprintable()
    until = time.monotonic() + 60
    while found(foreign, busy.pid).user != getpass.getuser() and time.monotonic() < until:
        time.sleep(0.05)
    assert found(foreign, busy.pid).user == getpass.getuser()
    busy.kill()
    busy.wait()
    assert busy.pid not in {sample.pid for sample in foreign.read(NOBODY)}


def test_processes_of_the_run_are_not_foreign(busy: subprocess.Popen[bytes]) -> None:
    foreign = TopProcesses(ProcessOwners())
    found(foreign, busy.pid)
    ours = frozenset({busy.pid})
    assert busy.pid not in {sample.pid for sample in foreign.read(ours)}
    assert busy.pid not in {sample.pid for sample in foreign.read(ours)}


def test_list_contains_the_largest_processes(tmp_path: Path) -> None:
    """Idle processes with most memory come after the busy ones."""
    for pid in range(1, 11):
        (tmp_path / str(pid)).mkdir()

    def write(busy: int) -> None:
        for pid in range(1, 11):
            line = f"{pid} (worker) S 1 1 1 0 -1 0 0 0 0 0 {busy * (pid == 1)} 0 0 0 20 0 1 0 77 1000 {pid} 0\n"
            (tmp_path / str(pid) / "stat").write_text(line)

    foreign = TopProcesses(ProcessOwners(), tmp_path, most=3, largest=2)
    write(0)
    assert foreign.read(NOBODY) == ()
    write(10**6)
    samples = foreign.read(NOBODY)
    assert [sample.pid for sample in samples] == [1, 10, 9]
    assert samples[1].cpu == 0.0


def test_sample_reads_a_slice_of_many_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,000 processes a sample reads 128; after eight samples all were read once."""

    def write(pid: int, ticks: int) -> None:
        line = f"{pid} (worker) R 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 77 1000 500 0\n"
        (tmp_path / str(pid) / "stat").write_text(line)

    for pid in range(1, 1001):
        (tmp_path / str(pid)).mkdir()
        write(pid, 0)
    opened: list[str] = []
    real = os.open

    def counted(path: str, flags: int) -> int:
        opened.append(path)
        return real(path, flags)

    foreign = TopProcesses(ProcessOwners(), tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", counted)
        for _ in range(8):
            before = len(opened)
            assert foreign.read(NOBODY) == ()
            assert len(opened) - before <= SLICE
    assert len(set(opened)) == 1000
    write(500, 10**9)
    samples = [foreign.read(NOBODY) for _ in range(8)]
    assert [sample.pid for sample in next(one for one in samples if one)] == [500]
    assert next(one for one in samples if one)[0].name == "[worker]"
