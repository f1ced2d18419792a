"""Accounting of custom data sets: real workers that read, wait for locks, or are slow."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gputrain.engine.configuration import settings
from gputrain.engine.events import LoaderStats
from gputrain.engine.training.userdata.user_dataset import UserDataset
from gputrain.engine.training.userdata.user_loader import UserLoader

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's files are Linux's")
SECONDS = 0.01


class Own:
    """Samples returned by a function."""

    def __init__(self, call: Callable[[int], object]) -> None:
        self._call = call

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self._call(index)
        return torch.zeros(3), 0


def stats_of(call: Callable[[int], object], workers: int) -> LoaderStats:
    config = settings.build({"dataset": "custom", "custom": "a:b", "batch_size": 4, "num_workers": workers})
    loader = UserLoader(UserDataset(Own(call), None, ""), config, train=True, pin=False)
    for _ in loader.epoch(0):
        loader.queue()
    stats = loader.take_stats()
    loader.close()
    if stats.run_delay is None:
        pytest.skip("this kernel does not tell who waits for a core")
    return stats


@pytest.mark.parametrize("workers", [0, 2])
def test_waiting_for_io_counts_as_reading(workers: int) -> None:
    stats = stats_of(lambda index: time.sleep(SECONDS), workers)
    assert stats.samples == 64
    assert stats.read_share is not None
    assert stats.busy is not None
    # On a busy machine workers also wait to be read from.
    assert stats.read_share > 0.5 * stats.busy > 0
    # A worker may be met while it gives its batch away.
    assert (stats.lock_share or 0.0) < 0.5


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_read_is_counted_by_the_kernel(workers: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100_000))
    stats = stats_of(lambda index: (tmp_path / "file").read_bytes(), workers)
    if stats.disk_bytes is None:
        assert stats.bytes_read is None
        pytest.skip("this kernel does not count what is read")
    assert stats.bytes_read is not None
    assert 6_400_000 <= stats.bytes_read < 7_000_000


def test_workers_that_wait_for_each_other_are_not_taken_for_a_slow_disk() -> None:
    lock = multiprocessing.get_context("fork").Lock()

    def alone(index: int) -> None:
        with lock:
            time.sleep(SECONDS)

    stats = stats_of(alone, 4)
    if stats.lock_share is None:
        assert stats.read_share is None
        pytest.skip("the kernel does not tell system calls of workers here")
    assert stats.read_share is not None
    # Three of four wait at any time; processes that are slow to start wait less.
    assert stats.lock_share > 0.1
    # Nearly all of it would be, if nobody looked.
    assert stats.read_share < 0.7


def test_the_slowest_sample_is_named() -> None:
    stats = stats_of(lambda index: time.sleep(0.3 if index == 37 else 0.0), 1)
    assert stats.slowest_image == "sample 37"
    assert stats.slowest is not None
    assert stats.slowest >= 0.3


def test_unmeasured_values_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def hidden(path: str | Path, *arguments: int) -> int:
        if "/io" in str(path) or "syscall" in str(path):
            raise PermissionError(path)
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", hidden)
    stats = stats_of(lambda index: time.sleep(SECONDS), 1)
    assert (stats.bytes_read, stats.disk_bytes, stats.lock_share, stats.read_share) == (None, None, None, None)
    assert stats.busy
