"""Batches of the user's Dataset: fetched and collated in a data worker, with the worker's accounting."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gputrain.engine.dataloading.worker_accounting import BatchAccounting, WorkerTally
from gputrain.engine.training.userdata.user_dataset import LoadedSample, UserDataset, UserSampleError, load_sample

Batched = tuple[torch.Tensor, torch.Tensor, torch.Tensor, WorkerTally]
"""Images, targets, indices, and the batch's accounting."""


class UserBatchMaker:
    """Makes batches; torch's DataLoader uses it as the Dataset. Each worker has a copy."""

    def __init__(self, user_dataset: UserDataset, seed: int) -> None:
        self._user_dataset, self._seed = user_dataset, seed
        self._meter: BatchAccounting | None = None

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Batched | str:
        """The samples of `keys`, (epoch, index) each, as a batch; an error message if one failed."""
        if self._meter is None:
            # Opened here: the kernel's counters belong to the thread that opens them.
            self._meter = BatchAccounting(reports_reads=False)
        made: list[LoadedSample] = []
        self._meter.begin()
        try:
            for epoch, index in keys:
                made.append(load_sample(self._user_dataset, self._seed, epoch, index))
                self._meter.made(index)
            images, targets, indices = _collated(made)
        except UserSampleError as error:
            return str(error)
        finally:
            tally = self._meter.end(len(made))
        return images, targets, indices, tally

    def close(self) -> None:
        """Close the accounting of this process; that of workers ends with them."""
        if self._meter is not None:
            self._meter.close()
            self._meter = None


def _collated(made: Sequence[LoadedSample]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, targets and indices of a batch. Raises UserSampleError if samples differ in shape or type."""
    for name in ("image", "target"):
        kinds = {
            (tuple(value.shape), str(value.dtype)): sample.index for sample in made for value in [getattr(sample, name)]
        }
        if len(kinds) > 1:
            (one, at), (other, there) = list(kinds.items())[:2]
            raise UserSampleError(
                f"the {name}s of a batch differ: {_describe(one)} in sample {at}, "
                f"{_describe(other)} in sample {there}; make them alike in the data set"
            )
    return (
        torch.stack([sample.image for sample in made]),
        torch.stack([sample.target for sample in made]),
        torch.tensor([sample.index for sample in made]),
    )


def _describe(kind: tuple[tuple[int, ...], str]) -> str:
    shape, dtype = kind
    return f"{' × '.join(str(side) for side in shape) or 'a number'} of {dtype.removeprefix('torch.')}"
