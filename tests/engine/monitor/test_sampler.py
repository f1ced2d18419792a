"""Samples of this machine."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import psutil
import pytest

from gputrain.engine.events import decode, encode
from gputrain.engine.monitor import disk
from gputrain.engine.monitor.sampler import Sampler


def burn(seconds: float) -> None:
    """Use a core for `seconds` of CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_sample_of_this_machine(tmp_path: Path) -> None:
    sampler = Sampler(run_pids=lambda: (os.getpid(),), data_path=tmp_path)
    first = sampler.sample()
    assert first.interval == 0.0
    assert (first.cpu_percent, first.run_cpu, first.net_rx) == (None, None, None)
    assert first.ram_total is not None
    burn(0.5)
    second = sampler.sample()
    sampler.close()
    assert second.interval > 0
    assert second.run_cpu is not None
    assert second.run_cpu > 0
    assert second.cpu_percent is not None
    assert 0 < second.cpu_percent <= 100
    assert len(second.per_core) == len(os.sched_getaffinity(0))
    assert second.foreign_cpu is not None
    assert second.foreign_cpu >= 0
    assert second.run_rss is not None
    assert second.run_rss >= psutil.Process().memory_info().rss * 0.9
    assert second.processes[0].pid == os.getpid()
    assert second.sample_cost is not None
    assert 0 < second.sample_cost < 0.5
    assert decode(encode(second)) == second


def test_sample_time_is_now() -> None:
    sampler = Sampler()
    before = time.time(), time.monotonic()
    sample = sampler.sample()
    after = time.time(), time.monotonic()
    sampler.close()
    assert before[0] <= sample.wall <= after[0]
    assert before[1] <= sample.mono <= after[1]


def test_without_a_run_all_cpu_use_is_foreign() -> None:
    sampler = Sampler()
    sampler.sample()
    burn(0.3)
    sample = sampler.sample()
    sampler.close()
    assert (sample.run_cpu, sample.run_rss, sample.processes) == (None, None, ())
    assert sample.foreign_cpu is not None
    assert sample.foreign_cpu > 0


def test_close_leaves_no_thread_and_no_open_file() -> None:
    Sampler().close()  # what is loaded once and for all is loaded now
    threads, files = threading.active_count(), set(Path("/proc/self/fd").iterdir())
    sampler = Sampler(run_pids=lambda: (os.getpid(),))
    sampler.sample()
    sampler.close()
    assert threading.active_count() <= threads
    assert set(Path("/proc/self/fd").iterdir()) == files


@pytest.mark.parametrize(("filesystem", "share"), [("ext4", 1.0), ("zfs", None)])
def test_cache_hits_are_unknown_where_the_kernel_counts_no_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filesystem: str, share: float | None
) -> None:
    place = disk.DataPlace("pool", filesystem, block=False)
    monkeypatch.setattr(disk, "find_place", lambda *_: place)
    file = tmp_path / "data"
    file.write_bytes(bytes(8 << 20))  # in the page cache from now on
    sampler = Sampler(run_pids=lambda: (os.getpid(),), data_path=tmp_path)
    for thread in threading.enumerate():
        if thread.name == "data-path":
            thread.join()
    sampler.sample()
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        file.read_bytes()
    sample = sampler.sample()
    sampler.close()
    assert sample.run_read_rate is not None
    assert sample.run_cache_hit == share
