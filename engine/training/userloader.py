"""Batches of a person's own Dataset through torch's DataLoader, in an order that belongs to (seed, epoch)."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from gputrain.engine.config import RunConfig
from gputrain.engine.errors import BadInput
from gputrain.engine.events import LoaderStats
from gputrain.engine.training import order
from gputrain.engine.training.batches import Batch
from gputrain.engine.training.userset import Made, Maker, UserSet
from gputrain.engine.training.userworkers import UserWorkers

_Collated = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Images, targets, indices, and seconds of wall and CPU time that the batch took."""


class UserLoader:
    """A `BatchSource`."""

    note = ""

    def __init__(
        self,
        own: UserSet,
        config: RunConfig,
        *,
        train: bool,
        pin: bool,
        on_death: Callable[[str], None] = lambda text: None,
    ) -> None:
        """In training, `own`'s sampler or a shuffled order, without a smaller last batch. `on_death` is told of data
        workers that were killed. Raises BadInput.
        """
        data = config.data
        self._own, self._seed, self._train = own, config.seed, train
        count = _length(own)
        self._count = count
        self._batch_size = min(data.batch_size if train else data.val_batch_size or data.batch_size, count)
        self._keys: list[list[tuple[int, int]]] = []
        workers = data.num_workers
        self._workers = workers
        self._loader: DataLoader[Any] = DataLoader(
            Maker(own, config.seed),  # type: ignore[arg-type]
            batch_sampler=_Current(self._keys),
            num_workers=workers,
            collate_fn=_collated,
            pin_memory=pin,
            prefetch_factor=data.prefetch_factor if workers else None,
            persistent_workers=bool(workers) and data.persistent_workers,
            # As torch's own default on Linux: data sets need not be picklable.
            multiprocessing_context="fork" if workers else None,
            worker_init_fn=_begin,
        )
        self._torch = UserWorkers(self._loader, self._keys, on_death)
        self._since = time.perf_counter()
        self._samples, self._wall, self._cpu = 0, 0.0, 0.0
        self._running: Generator[Batch, None, None] | None = None

    def __len__(self) -> int:
        """See `BatchSource`."""
        return order.batch_count(self._count, self._batch_size, drop_last=self._train)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See `BatchSource`. Raises BadInput with the place in the person's code that failed."""
        self._end_epoch()
        self._running = self._epoch(epoch, start)
        return self._running

    def _epoch(self, epoch: int, start: int) -> Generator[Batch, None, None]:
        indices = self._order(epoch)
        batches = order.Batches(indices, self._batch_size, self._train)
        self._keys[:] = [[(epoch, index) for index in batches.indices(at).tolist()] for at in range(start, len(self))]
        for number, found in enumerate(self._torch.batches(), start):
            if isinstance(found, str):
                raise BadInput(f"custom: {found}")
            images, labels, at, times = found
            self._samples += len(at)
            self._wall, self._cpu = self._wall + float(times[0]), self._cpu + float(times[1])
            yield Batch(images, labels, at, epoch, number)

    def _order(self, epoch: int) -> order.Indices:
        if self._own.sampler is None or not self._train:
            shuffled = order.batches(
                self._count, 1, seed=self._seed, epoch=epoch, shuffle=self._train, drop_last=self._train
            )
            return shuffled.order
        if hasattr(self._own.sampler, "set_epoch"):
            self._own.sampler.set_epoch(epoch)
        kept = torch.get_rng_state()
        # A sampler of torch draws from its generator: it starts each epoch from the same place.
        torch.manual_seed((self._seed * 1_000_003 + epoch) % (1 << 63))
        try:
            indices = np.fromiter((int(index) for index in self._own.sampler), dtype=np.int64)
        finally:
            torch.set_rng_state(kept)
        if len(indices) < self._count:
            raise BadInput(f"custom: the sampler gave {len(indices)} indices, where its length is {self._count}")
        return indices[: self._count]

    def queue(self) -> tuple[int, int]:
        """See `BatchSource`: torch's loader does not tell, which a capacity of 0 says."""
        return 0, 0

    def take_stats(self) -> LoaderStats:
        """See `BatchSource`."""
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        samples, wall, cpu = self._samples, self._wall, self._cpu
        self._samples, self._wall, self._cpu = 0, 0.0, 0.0
        return LoaderStats(
            workers=max(1, self._workers),
            kind="processes" if self._workers else "inline",
            seconds=seconds,
            samples=samples,
            busy=min(1.0, wall / (max(1, self._workers) * seconds)) if seconds > 0 else None,
            cpu_ratio=cpu / wall if wall else None,
            run_delay=None,
            read_share=None,
            bytes_read=None,
            disk_bytes=None,
        )

    def close(self) -> None:
        """See `BatchSource`. The workers end with the loader's iterator."""
        self._end_epoch()
        # What keeps persistent workers is the loader's reference to its iterator.
        self._loader._iterator = None

    def _end_epoch(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None


class _Current:
    """A batch sampler whose batches are changed from epoch to epoch, while the workers stay."""

    def __init__(self, keys: list[list[tuple[int, int]]]) -> None:
        self._keys = keys

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _length(own: UserSet) -> int:
    sized: Any = own.dataset if own.sampler is None else own.sampler
    count = len(sized)
    if count < 1:
        raise BadInput("custom: the data set is empty")
    return count


def _begin(_worker: int) -> None:
    """In a worker: Ctrl+C and the end of the run are the trainer's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _collated(samples: Iterable[Made | str]) -> _Collated | str:
    """The batch of some samples, or why there is none."""
    made = []
    for sample in samples:
        if isinstance(sample, str):
            return sample
        made.append(sample)
    for name in ("image", "target"):
        kinds = {
            (tuple(value.shape), str(value.dtype)): sample.index for sample in made for value in [getattr(sample, name)]
        }
        if len(kinds) > 1:
            (one, at), (other, there) = list(kinds.items())[:2]
            return (
                f"the {name}s of a batch differ: {_said(one)} in sample {at}, {_said(other)} in sample {there}; "
                "make them alike in the data set"
            )
    return (
        torch.stack([sample.image for sample in made]),
        torch.stack([sample.target for sample in made]),
        torch.tensor([sample.index for sample in made]),
        torch.tensor([[sample.wall, sample.cpu] for sample in made], dtype=torch.float64).sum(0),
    )


def _said(kind: tuple[tuple[int, ...], str]) -> str:
    shape, dtype = kind
    return f"{' × '.join(str(side) for side in shape) or 'a number'} of {dtype.removeprefix('torch.')}"
