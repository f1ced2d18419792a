"""Samples of this machine."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import psutil

from gputrain.engine.events import decode, encode
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
