"""Cells of the plan's tables: scaling to several GPUs, and RAM buffers by number of workers."""

from __future__ import annotations

from collections.abc import Sequence

from gputrain.engine.common.units import size
from gputrain.engine.estimates.updates_per_epoch import BufferRow, ScaleRow

SCALING = ("GPUs", "images per update", "workers", "RAM buffer", "as float32", "learning rate")
BUFFERS = ("workers", "batches each", "total", "RAM buffer", "as float32")
NARROW_SCALING = ("GPUs", "images", "workers", "buffer", "float32", "LR")
NARROW_BUFFERS = ("workers", "each", "total", "buffer", "float32")


def scaling_cells(rows: Sequence[ScaleRow]) -> list[tuple[str, ...]]:
    """Cells for the columns of `SCALING`."""
    return [
        (
            str(row.gpus),
            str(row.total_batch),
            str(row.total_workers),
            size(row.buffer),
            size(row.buffer_float32),
            f"{row.scaled_lr:g}",
        )
        for row in rows
    ]


def buffer_cells(rows: Sequence[BufferRow]) -> list[tuple[str, ...]]:
    """Cells for the columns of `BUFFERS`."""
    return [
        (str(row.workers), str(row.prefetch), str(row.batches), size(row.buffer), size(row.buffer_float32))
        for row in rows
    ]
