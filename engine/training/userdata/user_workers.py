"""torch's data workers with replacement of killed ones; the batches stay the same."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import connection
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
_BROKEN = (ConnectionError, EOFError)
"""Errors of a connection whose other end is gone."""
_LOG = "trainer.log has its last output; num_workers=0 uses no processes"


_EXIT_SECONDS = 5.0
"""How long the exit of a worker may take after its connection was closed."""


class UserWorkers:
    """Iterates over a DataLoader's batches; after a worker was killed, new workers continue with the next batch."""

    def __init__(self, loader: DataLoader[Any], keys: list[Any], on_warning: Callable[[str], None]) -> None:
        """`keys`: those of each batch of the loader; `on_warning` gets a message for each killed worker."""
        self._loader = loader
        self._keys = keys
        self._on_warning = on_warning
        self._workers: list[BaseProcess] = []

    def batches(self) -> Iterator[Any]:
        """The loader's batches for the present keys. Raises WorkerError if replacements would be killed too."""
        deaths, stuck = 0, False
        while True:
            done = 0
            try:
                for batch in self._start():
                    yield batch
                    done += 1
            except Exception as error:
                # A dead worker shows as an error of any kind in the iterator.
                dead = self._dead_worker(error)
                if dead is None and not isinstance(error, _BROKEN):
                    raise
                # A signal may break the connection of a worker that lives. Errors of the data set come as texts.
                code = (dead.exitcode if dead is not None else None) or 0
                what = f"data worker (pid {dead.pid}) {_end(code)}" if dead is not None else "a data worker hung up"
                if code > 0 or (stuck and not done) or deaths >= MAX_DEATHS:
                    raise WorkerError(f"{what}; {_REMEDY.get(code, _LOG)}") from error
                self._on_warning(f"{what}; new workers load its batches")
            else:
                return
            deaths, stuck = deaths + 1, not done
            # The remaining workers end with torch's iterator, so nothing may refer to it.
            self._loader._iterator = None
            self._keys[:] = self._keys[done:]

    def _dead_worker(self, error: Exception) -> BaseProcess | None:
        """The worker that `error` comes from; None if all live."""
        if isinstance(error, _BROKEN):
            # Its connection closes a moment before its exit is known.
            connection.wait([worker.sentinel for worker in self._workers], _EXIT_SECONDS)
        return next((worker for worker in self._workers if worker.exitcode), None)

    def _start(self) -> Iterator[Any]:
        before = multiprocessing.active_children()
        handler = signal.getsignal(signal.SIGCHLD)
        # torch draws a base seed here. The model's random numbers must not depend on the number of restarts.
        with rng_state.preserved_rng():
            batches = iter(self._loader)
        if threading.current_thread() is threading.main_thread():
            # torch's handler would raise in the middle of whatever the training is doing, an update for example.
            signal.signal(signal.SIGCHLD, handler)
        if fresh := [child for child in multiprocessing.active_children() if child not in before]:
            self._workers = fresh
        return batches


def _end(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
