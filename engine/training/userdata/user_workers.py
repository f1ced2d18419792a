"""torch's data workers with others in the place of those that are killed: the batches that come are the same."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import DataLoader

from gputrain.engine.training.runtime import rng_state
from gputrain.engine.training.workers.process_workers import MAX_DEATHS
from gputrain.engine.training.workers.worker_pool import WorkerError

_REMEDY = {
    -signal.SIGKILL: "most likely out of memory: lower num_workers, prefetch_factor or batch_size",
    -signal.SIGBUS: "most likely /dev/shm is full: raise --shm-size of a container, or lower num_workers",
}
_LOG = "its last words are in trainer.log. num_workers=0 does without processes"


class UserWorkers:
    """Iterates over a DataLoader's batches, from where it was when a worker was killed on."""

    def __init__(self, loader: DataLoader[Any], keys: list[Any], on_warning: Callable[[str], None]) -> None:
        """`keys`: what the loader makes a batch each of; `on_warning` is told of killed workers, in words."""
        self._loader = loader
        self._keys = keys
        self._on_warning = on_warning
        self._workers: list[BaseProcess] = []

    def batches(self) -> Iterator[Any]:
        """What the loader makes of the present keys. Raises WorkerError where others would be killed too."""
        deaths, stuck = 0, False
        while True:
            done = 0
            try:
                for batch in self._start():
                    yield batch
                    done += 1
            except Exception as error:
                # A worker that is gone shows in whatever was about to be had from it.
                dead = next((worker for worker in self._workers if worker.exitcode), None)
                if dead is None or dead.exitcode is None:
                    raise
                told = f"data worker (pid {dead.pid}) {_end(dead.exitcode)}"
                if dead.exitcode > 0 or (stuck and not done) or deaths >= MAX_DEATHS:
                    raise WorkerError(f"{told}; {_REMEDY.get(dead.exitcode, _LOG)}") from error
                self._on_warning(f"{told}; others make its batches")
            else:
                return
            deaths, stuck = deaths + 1, not done
            # The others end with torch's iterator, to which nothing must refer any more.
            self._loader._iterator = None
            self._keys[:] = self._keys[done:]

    def _start(self) -> Iterator[Any]:
        before = multiprocessing.active_children()
        handler = signal.getsignal(signal.SIGCHLD)
        # It draws a seed for its workers, which need none: a model's numbers must not depend on how often it began.
        with rng_state.preserved_rng():
            batches = iter(self._loader)
        if threading.current_thread() is threading.main_thread():
            # torch's own raises an error wherever the training just is, in the midst of an update too.
            signal.signal(signal.SIGCHLD, handler)
        if fresh := [child for child in multiprocessing.active_children() if child not in before]:
            self._workers = fresh
        return batches


def _end(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"left with exit code {code}"
