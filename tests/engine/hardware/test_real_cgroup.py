"""Real groups with limits, in a v1 tree of this machine; `test_cgroup` shows the same from fake trees of v1 and v2."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gputrain.engine.hardware.cgroup import find_cgroup


@contextlib.contextmanager
def real_group(controller: str) -> Iterator[Path]:
    """A new group below this process's own, in this machine's v1 tree; skips where it cannot be created."""
    found = find_cgroup()
    folders = {"cpu": found.cpu, "memory": found.memory}[controller]
    limit = {"cpu": "cpu.cfs_quota_us", "memory": "memory.limit_in_bytes"}[controller]
    if not folders or not (folders[0] / limit).exists():
        pytest.skip(f"no {controller} group of v1 here")
    folder = folders[0] / f"gputrain-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no group can be made here: {error.strerror}")
    try:
        yield folder
    finally:
        folder.rmdir()


INSIDE = """
import os, sys, time
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.monitor.sampler import Sampler
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
machine = inspect_machine()
sampler = Sampler(lambda: (os.getpid(),))
sampler.sample()
end = time.monotonic() + 1.0
while time.monotonic() < end:
    pass
sample = sampler.sample()
print(machine.usable_cores, machine.memory_limit, machine.memory_available, sample.cpu_percent, sample.throttled_share,
      sample.ram_total, sample.ram_available, sample.ram_cached, sample.shm_total)
"""


def inside(folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", INSIDE, str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


def test_a_real_quota_of_a_tenth_of_a_core() -> None:
    with real_group("cpu") as folder:
        (folder / "cpu.cfs_period_us").write_text("50000")
        (folder / "cpu.cfs_quota_us").write_text("5000")
        cores, _, _, percent, throttled, *_ = inside(folder)
    assert cores == "0.1"
    # An endless loop uses the whole quota and is throttled, even while other tests run.
    assert float(percent) > 30
    assert float(throttled) > 0.1


def test_a_real_memory_limit() -> None:
    with real_group("memory") as folder:
        (folder / "memory.limit_in_bytes").write_text(str(1 << 30))
        _, limit, available, _, _, total, left, cached, shm = inside(folder)
    assert int(limit) == int(total) == 1 << 30
    assert 0 < int(available) < 1 << 30
    assert 0 < int(left) < 1 << 30
    # The cgroup's value, not the host's.
    assert int(cached) < 1 << 30
    assert int(shm) <= 1 << 30
