"""The demo data set: JPEG files that are drawn once and stored in the cache folder.

``demo-v1/{train,val}/<class>/<number>.jpg``. It is drawn under a lock in a temporary folder, which is renamed when
complete: neither a killed process nor two runs at once leave a partial data set.
"""

from __future__ import annotations

import fcntl
import math
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import cache_home
from gputrain.engine.datasets.demo import demo_images
from gputrain.engine.hardware.cgroup import find_cgroup
from gputrain.engine.hardware.machine import usable_cores
from gputrain.engine.processes import scheduler_signals

VERSION = 1
"""Increased with every change of the images: the new version is drawn in a new folder, the old folder stays."""
COUNTS = {"train": 240, "val": 48}
"""Images per class, by split."""
_CHUNK = 20
_POLL_SECONDS = 0.2


class DemoStopped(Exception):  # noqa: N818 - a request, not an error
    """Drawing was stopped on request."""


def ensure_demo(
    progress: Callable[[int, int], None],
    stop: Callable[[], bool] = lambda: False,
    counts: dict[str, int] = COUNTS,
    processes: int | None = None,
) -> Path:
    """The data set's folder; draws the images if they are missing, which takes one core three quarters of a minute.

    `progress` gets (images drawn, total) a few times a second; `counts` is the number of images per class by split;
    `processes` defaults to the number of usable cores, which a cgroup may limit. Raises DemoStopped when `stop` returns
    true, BadInput if the images cannot be written.
    """
    root = cache_home() / f"demo-v{VERSION}"
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with _lock(root.with_suffix(".lock"), stop):
            if not root.is_dir():
                _draw_all(root, counts, processes or _usable_cores(), progress, stop)
    except OSError as error:
        raise BadInput(
            f"{error.filename or root}: the demo images cannot be written: {error.strerror or error}; "
            "set GPUTRAIN_CACHE to a folder with 250 MB of room"
        ) from None
    return root


def _usable_cores() -> int:
    return math.ceil(usable_cores(find_cgroup()))


@contextmanager
def _lock(path: Path, stop: Callable[[], bool]) -> Iterator[None]:
    """Hold the file lock for drawing; waits while another run draws."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop():
                    raise DemoStopped from None
                time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(handle)


def _draw_all(
    root: Path, counts: dict[str, int], processes: int, progress: Callable[[int, int], None], stop: Callable[[], bool]
) -> None:
    unfinished = root.with_suffix(".drawing")
    # Only the lock's holder draws: an existing folder is a leftover of a killed process.
    shutil.rmtree(unfinished, ignore_errors=True)
    jobs = [
        (str(unfinished), name, split, start, min(start + _CHUNK, count))
        for split, count in counts.items()
        for name in demo_images.PATTERNS
        for start in range(0, count, _CHUNK)
    ]
    total = sum(end - start for *_, start, end in jobs)
    context = multiprocessing.get_context("spawn")
    progress(0, total)
    with scheduler_signals.blocked_signals():  # its queues start multiprocessing's resource tracker
        pool = ProcessPoolExecutor(processes, context)
    with pool:
        # Submitting starts the processes. A preemption signal to all processes of a job must not end them: `stop` does.
        with scheduler_signals.blocked_signals():
            waiting: set[Future[int]] = {pool.submit(draw_images, *job) for job in jobs}
        done = 0
        while waiting:
            finished, waiting = wait(waiting, _POLL_SECONDS, FIRST_COMPLETED)
            done += sum(future.result() for future in finished)
            progress(done, total)
            if stop():
                pool.shutdown(cancel_futures=True)
                raise DemoStopped
    unfinished.rename(root)


def draw_images(root: str, name: str, split: str, start: int, end: int) -> int:
    """Draw images `start` to `end` of a class; returns how many. Runs in a process of the pool."""
    folder = Path(root) / split / name
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, end):
        (folder / f"{number:04d}.jpg").write_bytes(demo_images.draw(name, split, number))
    return end - start
