"""Slot buffer: the memory of all batches, allocated once, pinned for a GPU, and filled in place by the workers."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import Any

import torch

from gputrain.engine.common.errors import BadInput
from gputrain.engine.training.workers.fill_batch import BatchSlot

_ALIGN = 4096
_INT64 = 8


@dataclass(frozen=True, slots=True)
class SlotShape:
    """Number and size of a slot buffer's slots."""

    slots: int
    batch_size: int
    size: int
    """Side of the square images."""

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot: images, labels and indices, each page-aligned."""
        numbers = _pages(self.batch_size * _INT64)
        return _pages(self.batch_size * 3 * self.size**2) + 2 * numbers

    @property
    def total_bytes(self) -> int:
        """Bytes of all slots."""
        return self.slots * self.slot_bytes


def _pages(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def slots_in(memory: torch.Tensor, shape: SlotShape) -> list[BatchSlot]:
    """The slots in a block of `shape.total_bytes` bytes (uint8), as views of it."""
    pixel_bytes = shape.batch_size * 3 * shape.size**2
    number_bytes = shape.batch_size * _INT64
    slots = []
    for start in range(0, shape.total_bytes, shape.slot_bytes):
        labels_at = start + _pages(pixel_bytes)
        indices_at = labels_at + _pages(number_bytes)
        pixels = memory[start : start + pixel_bytes].view(shape.batch_size, shape.size, shape.size, 3)
        slots.append(
            BatchSlot(
                pixels=pixels.permute(0, 3, 1, 2),
                labels=memory[labels_at : labels_at + number_bytes].view(torch.int64),
                indices=memory[indices_at : indices_at + number_bytes].view(torch.int64),
            )
        )
    return slots


def private_memory(shape: SlotShape, *, pin: bool) -> torch.Tensor:
    """A block for threads; page-locked with `pin`. Raises BadInput if there is too little memory."""
    try:
        return torch.empty(shape.total_bytes, dtype=torch.uint8, pin_memory=pin)
    except RuntimeError as error:
        raise BadInput(_too_large(shape, pinned=pin)) from error


def _too_large(shape: SlotShape, *, pinned: bool) -> str:
    kind = "page-locked memory" if pinned else "memory"
    return (
        f"{shape.total_bytes / 2**20:,.0f} MiB of {kind} for {shape.slots} batches cannot be allocated; "
        "lower num_workers, prefetch_factor or batch_size"
    )


class SharedMemory:
    """A block that worker processes map too, through a file descriptor.

    A memfd rather than a file in /dev/shm: containers limit that to 64 MB, and a crash would leave the file behind.
    """

    def __init__(self, size: int, handle: int | None = None) -> None:
        self.handle = os.memfd_create("gputrain-ring") if handle is None else handle
        if handle is None:
            os.ftruncate(self.handle, size)
        self._map = mmap.mmap(self.handle, size)
        self.tensor = torch.frombuffer(self._map, dtype=torch.uint8)
        self._pinned = False

    def pin(self) -> None:
        """Page-lock the block for this process's GPU. Raises RuntimeError if CUDA refuses."""
        runtime: Any = torch.cuda.cudart()
        result = runtime.cudaHostRegister(self.tensor.data_ptr(), self.tensor.numel(), 0)
        if result.value != 0:
            raise RuntimeError(f"cudaHostRegister failed with {result}")
        self._pinned = True

    def close(self) -> None:
        """Unpin the block and close the descriptor; the memory is freed with the last tensor on it."""
        if self._pinned:
            runtime: Any = torch.cuda.cudart()
            runtime.cudaHostUnregister(self.tensor.data_ptr())
            self._pinned = False
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1
