"""Workers of a loader: shutdown, replacement, failure, and torch threads."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from helpers.training.loading import SETTINGS, copied, make, without_workers
from helpers.training.pictures import folder

from gputrain.engine.configuration import settings
from gputrain.engine.dataloading import batch_sampler
from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.datasets.image_set import ImageSet, image_set, scan
from gputrain.engine.training.loader.image_loader import ImageLoader
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.runtime.batch import BatchSource
from gputrain.engine.training.workers import fill_batch, process_workers, worker_pool
from gputrain.engine.training.workers.fill_batch import read_file
from gputrain.engine.training.workers.process_workers import ProcessWorkerPool

TIMEOUT = 60.0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return scan(str(folder(tmp_path_factory.mktemp("data"), classes=3, per_class=9)), "train")


@pytest.fixture(scope="module")
def expected(images: ImageSet) -> list[tuple[int, list[int], list[int], bytes]]:
    return without_workers(images)


def workers_of(source: BatchSource) -> list[psutil.Process]:
    assert isinstance(source, ImageLoader)
    assert isinstance(source._pool, ProcessWorkerPool)
    return [psutil.Process(worker.process.pid) for worker in source._pool._processes]


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_closing_early_leaves_nothing_running(images: ImageSet, kind: str) -> None:
    before = set(threading.enumerate())
    source = make(images, loader=kind)
    running = source.epoch(0)
    next(running)
    at_work = workers_of(source) if kind == "processes" else []
    running.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before
    assert all(process.is_running() for process in at_work)  # persistent
    assert len(copied(source.epoch(1))) == 6
    source.close()
    source.close()
    assert not any(process.is_running() for process in at_work)


def test_a_new_epoch_closes_the_previous_one(images: ImageSet, expected: Any) -> None:
    source = make(images)
    old = source.epoch(0)
    next(old)
    assert copied(source.epoch(3)) == expected
    assert list(old) == []


def ahead_of_the_loop(source: BatchSource) -> int:
    """Number of prefetched batches before any is requested; 0 if there never are any."""
    deadline = time.monotonic() + TIMEOUT
    while source.queue()[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    return source.queue()[0]


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_workers_prefetch_the_next_epoch(images: ImageSet, expected: Any, kind: str) -> None:
    source = make(images, loader=kind, epochs=5)
    second = copied(source.epoch(2))
    assert ahead_of_the_loop(source) > 0
    assert copied(source.epoch(3)) == expected
    # Somebody may go elsewhere: what was made ahead is then forgotten.
    assert copied(source.epoch(2)) == second
    assert copied(source.epoch(3, start=2)) == expected[2:]
    source.close()


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_no_prefetch_after_the_last_epoch_or_without_persistent_workers(
    images: ImageSet, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = set()
    real = batch_sampler.batches

    def noted(*arguments: Any, epoch: int, **others: Any) -> batch_sampler.EpochBatches:
        made.add(epoch)
        return real(*arguments, epoch=epoch, **others)

    monkeypatch.setattr(batch_sampler, "batches", noted)
    for epochs, persistent in ((2, True), (9, False)):
        made.clear()
        source = make(images, loader=kind, epochs=epochs, persistent_workers=persistent)
        assert len(copied(source.epoch(1))) == 6
        source.close()
        assert made == {1}


def test_processes_end_with_the_epoch_unless_persistent(images: ImageSet) -> None:
    source = make(images, loader="processes", persistent_workers=False, num_workers=1)
    running = source.epoch(0)
    next(running)
    (worker,) = workers_of(source)
    list(running)
    assert not worker.is_running()
    source.close()


def killed(process: psutil.Process) -> None:
    process.kill()
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)


def test_a_killed_worker_is_replaced_and_changes_no_batch(images: ImageSet, expected: Any) -> None:
    said: list[str] = []
    source = make(images, loader="processes", on_warning=said.append)
    running = source.epoch(3)
    found = copied(itertools.islice(running, 1))
    killed(workers_of(source)[0])
    found += copied(running)
    assert found == expected
    assert len(said) == 1
    assert "was killed by SIGKILL; a new worker makes its" in said[0]
    assert copied(source.epoch(3)) == expected
    source.close()


def test_too_many_killed_workers_are_an_error_and_not_a_hang(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_workers, "MAX_DEATHS", 0)
    source = make(images, loader="processes", prefetch_factor=1)
    running = source.epoch(0)
    next(running)
    at_work = workers_of(source)
    killed(at_work[0])
    with pytest.raises(worker_pool.WorkerError, match="SIGKILL; most likely out of memory: lower num_workers"):
        list(running)
    assert not any(process.is_running() for process in at_work)
    assert len(copied(source.epoch(0))) == 6  # with new workers
    source.close()


@pytest.mark.parametrize("kind", ["inline", "threads", "processes"])
def test_errors_of_the_machine_reach_the_loop(images: ImageSet, kind: str, tmp_path: Path) -> None:
    # A name too long for the kernel is no bad image: something is wrong with the run.
    broken = image_set(tmp_path, ["x" * 300], [0], ["a"])
    source = make(broken, loader=kind if kind != "inline" else "auto", num_workers=0 if kind == "inline" else 1)
    with pytest.raises((OSError, worker_pool.WorkerError), match="File name too long"):
        list(source.epoch(0))
    source.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_each_worker_computes_on_one_thread_and_the_loop_on_its_own(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    seen = set()

    def noted(path: str, meter: BatchAccounting) -> bytes:
        seen.add((threading.current_thread().name, torch.get_num_threads()))
        return read_file(path, meter)

    monkeypatch.setattr(fill_batch, "read_file", noted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        source = make(images, num_workers=workers)
        batches = source.epoch(0)
        next(batches)
        assert torch.get_num_threads() == 2
        source.close()
    finally:
        torch.set_num_threads(before)
    assert {count for name, count in seen if name.startswith("loader-") == bool(workers)} == {1}


@pytest.mark.skipif(
    torch.cuda.is_available() or not torch.backends.cuda.is_built(), reason="needs a CUDA that refuses to lock pages"
)
def test_memory_that_cannot_be_pinned_is_reported_and_used(images: ImageSet, expected: Any) -> None:
    warnings: list[str] = []
    config = settings.build(SETTINGS | {"loader": "processes"})
    source = make_loader(images, config, train=True, pin=True, on_warning=warnings.append)
    assert copied(source.epoch(3)) == expected
    source.close()
    (text,) = warnings
    assert "batches are in memory that is not page-locked" in text
