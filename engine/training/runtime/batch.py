"""Batch, and BatchSource: the interface between loaders and the training loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch

from gputrain.engine.events import LoaderStats


@dataclass(slots=True)
class Batch:
    """One batch in host memory, valid until the next one is requested.

    A loop that copies asynchronously waits for the copy (an event on the stream) before it requests the next batch.
    """

    images: torch.Tensor
    """uint8, (N, 3, H, W), RGB; the loader chooses the strides (channels_last where that is faster)."""
    labels: torch.Tensor
    """int64, (N,)."""
    indices: torch.Tensor
    """int64, (N,): indices into the data set, for augmentation on the device and for messages."""
    epoch: int
    number: int
    """Position of the batch in its epoch, from 0."""


class BatchSource(Protocol):
    """A loader. Its batches depend on (seed, epoch, index) alone, never on workers or timing."""

    def __len__(self) -> int:
        """Batches per epoch."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from batch `start` on. Closing the iterator early is allowed."""
        ...

    def queue(self) -> tuple[int, int]:
        """Finished batches in the queue now, and the queue's capacity."""
        ...

    def take_stats(self) -> LoaderStats:
        """The workers' accounting since the last call."""
        ...

    def close(self) -> None:
        """End the workers; idempotent."""
        ...
