"""What the loader hands to the training loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch

from gputrain.engine.events import LoaderStats


@dataclass(slots=True)
class Batch:
    """One batch in host memory, valid until the next one is asked for.

    A loop that copies asynchronously waits for the copy (an event on the stream) before it asks for
    the next batch, or lets the loader's own double buffering do so.
    """

    images: torch.Tensor
    """uint8, (N, 3, H, W), RGB; strides are the loader's choice (channels_last where that is faster)."""
    labels: torch.Tensor
    """int64, (N,)."""
    indices: torch.Tensor
    """int64, (N,): indices into the data set, for augmentation on the device and for messages."""
    epoch: int
    number: int
    """Position of the batch in its epoch, from 0."""


class BatchSource(Protocol):
    """A loader: batches that depend on (seed, epoch, index) alone, never on workers or timing."""

    def __len__(self) -> int:
        """Batches per epoch."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from batch `start` on. Closing the iterator early is allowed."""
        ...

    def queue(self) -> tuple[int, int]:
        """Finished batches that wait now, and how many can wait."""
        ...

    def take_stats(self) -> LoaderStats:
        """Accounting inside the workers since the last call."""
        ...

    def close(self) -> None:
        """End the workers; idempotent."""
        ...
