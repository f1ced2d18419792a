"""Worker accounting with real threads: locks, the slowest sample, sums."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from gputrain.engine.dataloading.lock_waits import SAMPLE_SECONDS, LockWaitSampler
from gputrain.engine.dataloading.worker_accounting import BatchAccounting, WorkerTally
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's files are Linux's")
def test_a_thread_that_waits_for_a_lock_is_seen() -> None:
    lock, ready = threading.Lock(), threading.Event()
    numbers: list[int] = []

    def wait() -> None:
        numbers.append(threading.get_native_id())
        ready.set()
        with lock:
            pass

    sampler = LockWaitSampler(threads=False)
    with lock:
        thread = threading.Thread(target=wait)
        thread.start()
        ready.wait()
        sampler.watch(numbers[0])
        for _ in range(5):
            sampler.sample()
            time.sleep(SAMPLE_SECONDS)
        share = sampler.take_share()
    thread.join()
    if share is None:
        pytest.skip("the kernel does not tell system calls of threads here")
    assert share >= 0.5
    while Path(f"/proc/self/task/{numbers[0]}").exists():  # for a moment longer than the interpreter knows of it
        time.sleep(0.01)
    sampler.sample()
    assert sampler.take_share() is None
    sampler.close()


def test_without_watched_workers_the_share_is_unknown() -> None:
    sampler = LockWaitSampler(threads=True)
    sampler.sample()
    assert sampler.take_share() is None


def test_the_slowest_sample_is_known_by_its_index() -> None:
    meter = BatchAccounting()
    meter.begin()
    for index, seconds in ((7, 0.0), (8, 0.05), (9, 0.0)):
        time.sleep(seconds)
        meter.made(index)
    tally = meter.end(3)
    meter.close()
    assert tally.slowest_index == 8
    assert 0.05 <= tally.slowest <= tally.busy
    assert tally.thread == threading.get_native_id()
    total = WorkerTally(slowest=0.01, slowest_index=1)
    total.add(tally)
    assert total.slowest_index == 8
    assert total.samples == 3


def test_an_unmeasured_part_makes_the_sum_unknown() -> None:
    total = WorkerTally()
    total.add(WorkerTally(samples=1, run_delay=None, disk_bytes=None))
    total.add(WorkerTally(samples=1, run_delay=1.0, disk_bytes=1))
    assert (total.samples, total.run_delay, total.disk_bytes) == (2, None, None)


def test_the_squares_of_waits_measure_their_variance() -> None:
    clock = StepClock(Compute(torch.device("cpu"), "a CPU", "fp32"))
    for seconds in (0.0, 0.05):
        with clock.waiting():
            time.sleep(seconds)
    assert clock.wait_squares <= clock.wait**2
    assert clock.wait_squares >= clock.wait**2 * 0.5
    clock.restart()
    assert clock.wait_squares == 0.0
