"""Loader of the user's Dataset: torch's DataLoader, with an order that depends on (seed, epoch) alone."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import msgspec
from torch.utils.data import DataLoader

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.dataloading import batch_sampler
from gputrain.engine.dataloading.lock_waits import LockWaitSampler
from gputrain.engine.dataloading.worker_accounting import WorkerTally, loader_stats
from gputrain.engine.events import LoaderStats
from gputrain.engine.processes.scheduler_signals import STOPPING
from gputrain.engine.training.runtime.batch import Batch
from gputrain.engine.training.userdata import user_sampler
from gputrain.engine.training.userdata.user_batch import UserBatchMaker
from gputrain.engine.training.userdata.user_dataset import UserDataset
from gputrain.engine.training.userdata.user_workers import UserWorkers


class UserLoader:
    """A `BatchSource`."""

    note = ""

    def __init__(
        self,
        user_dataset: UserDataset,
        config: RunConfig,
        *,
        train: bool,
        pin: bool,
        on_warning: Callable[[str], None] = lambda text: None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """In training, batches follow the data set's sampler or a shuffled order, without a smaller last batch.

        `on_warning` gets a message for each data worker that was killed. Raises BadInput.
        """
        data = config.data
        self._user_dataset, self._seed, self._train = user_dataset, config.seed, train
        self._count = user_sampler.length(user_dataset)
        asked = data.batch_size if train else data.val_batch_size or data.batch_size
        self._batch_size = batch_sampler.batch_size_that_fits(asked, self._count, ranks if train else 1)
        self._rank, self._ranks = rank, ranks
        self._keys: list[list[tuple[int, int]]] = []
        self._workers = data.num_workers
        self._maker = UserBatchMaker(user_dataset, config.seed)
        self._loader = _torch_loader(self._maker, self._keys, config, pin=pin)
        self._torch = UserWorkers(self._loader, self._keys, on_warning)
        self._since = time.perf_counter()
        self._tally = WorkerTally()
        self._locks = LockWaitSampler(threads=False)
        self._running: Generator[Batch, None, None] | None = None

    def __len__(self) -> int:
        """Batches of this rank per epoch."""
        return math.ceil(max(0, self.all_batches - self._rank) / self._ranks)

    @property
    def all_batches(self) -> int:
        """Batches of all ranks per epoch."""
        return batch_sampler.batch_count(self._count, self._batch_size, drop_last=self._train)

    @property
    def batch_images(self) -> int:
        """Samples of a training batch."""
        return self._batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See `BatchSource`. Raises BadInput with the line of the user's code that failed."""
        self._end_epoch()
        self._running = self._epoch(epoch, start)
        return self._running

    def _epoch(self, epoch: int, start: int) -> Generator[Batch, None, None]:
        indices = user_sampler.epoch_indices(self._user_dataset, self._seed, epoch, train=self._train)
        batches = batch_sampler.EpochBatches(indices, self._batch_size, self._train, rank=self._rank, ranks=self._ranks)
        self._keys[:] = [[(epoch, index) for index in batches.indices(at).tolist()] for at in range(start, len(self))]
        for number, found in enumerate(self._torch.batches(), start):
            if isinstance(found, str):
                raise BadInput(f"custom: {found}")
            images, labels, at, tally = found
            self._tally.add(tally)
            if self._workers:
                self._locks.watch(tally.thread)
            yield Batch(images, labels, at, epoch, number)

    def queue(self) -> tuple[int, int]:
        """See `BatchSource`. The capacity is 0: torch's loader does not report its queue."""
        self._locks.sample()
        return 0, 0

    def take_stats(self) -> LoaderStats:
        """See `BatchSource`."""
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        tally, self._tally = self._tally, WorkerTally()
        workers, locked = max(1, self._workers), self._locks.take_share()
        if self._workers and tally.read is not None:
            # Waiting for a lock is not reading. Without lock samples the two cannot be separated.
            tally.read = None if locked is None else max(0.0, tally.read - locked * workers * seconds)
        stats = loader_stats(
            tally,
            workers=workers,
            kind="processes" if self._workers else "inline",
            seconds=seconds,
            lock_share=locked,
            slowest_image=f"sample {tally.slowest_index}" if tally.slowest_index >= 0 else "",
        )
        return msgspec.structs.replace(stats, bytes_read=None) if tally.disk_bytes is None else stats

    def close(self) -> None:
        """See `BatchSource`. The workers end with the loader's iterator."""
        self._end_epoch()
        # The loader's reference to its iterator keeps persistent workers alive.
        self._loader._iterator = None
        self._maker.close()
        self._locks.close()

    def _end_epoch(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None


def _torch_loader(
    maker: UserBatchMaker, keys: list[list[tuple[int, int]]], config: RunConfig, *, pin: bool
) -> DataLoader[Any]:
    data = config.data
    workers = data.num_workers
    return _TorchLoader(
        maker,  # type: ignore[arg-type]
        batch_sampler=_EpochKeys(keys),
        num_workers=workers,
        collate_fn=_identity,
        pin_memory=pin,
        prefetch_factor=data.prefetch_factor if workers else None,
        persistent_workers=bool(workers) and data.persistent_workers,
        # torch's default on Linux: data sets need not be picklable.
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_init_worker,
    )


class _TorchLoader(DataLoader[Any]):
    def check_worker_number_rationality(self) -> None:
        """Overrides torch's warning of more workers than cores: workers that wait for a network may be more."""


class _EpochKeys:
    """A batch sampler whose batches change from epoch to epoch, while the workers stay."""

    def __init__(self, keys: list[list[tuple[int, int]]]) -> None:
        self._keys = keys

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _init_worker(_worker: int) -> None:
    """In a worker: ignore the signals that a batch system or Ctrl-C sends to all processes of a run.

    Only the trainer may end its workers: torch does it by SIGTERM.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    # Not ignored: an ignored signal is never pending, and could not be waited for.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_exit_on_parents_signal, name="signals", daemon=True).start()


def _exit_on_parents_signal() -> None:
    while (info := signal.sigwaitinfo([signal.SIGTERM])).si_pid != os.getppid():
        pass
    os._exit(128 + info.si_signo)


def _identity(batch: Any) -> Any:
    """The batch as `UserBatchMaker` returned it: it is already collated."""
    return batch
