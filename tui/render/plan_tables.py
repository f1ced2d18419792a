"""Cells of the plan's tables: several GPUs with their speed, and RAM buffers by number of workers."""

from __future__ import annotations

from collections.abc import Sequence

from gputrain.engine.common.units import duration, size
from gputrain.engine.estimates.scaling_forecast import ScaledSpeed
from gputrain.engine.estimates.updates_per_epoch import BufferRow, ScaleRow

SCALING = ("GPUs", "images per update", "workers", "RAM buffer", "as float32", "learning rate")
BUFFERS = ("workers", "batches each", "total", "RAM buffer", "as float32")
SPEEDS = ("GPUs", "images per second", "efficiency", "exchange", "limit", "epoch", "whole run", "cost")
NARROW_SPEEDS = ("GPUs", "img/s", "eff.", "exchange", "limit", "epoch", "run", "cost")
NARROW_SCALING = ("GPUs", "images", "workers", "buffer", "float32", "LR")
NARROW_BUFFERS = ("workers", "each", "total", "buffer", "float32")


def scaling_cells(rows: Sequence[ScaleRow]) -> list[tuple[str, ...]]:
    """Cells for the columns of `SCALING`."""
    return [
        (
            _devices(row.gpus, row.nodes),
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


def speed_cells(rows: Sequence[ScaledSpeed]) -> list[tuple[str, ...]]:
    """Cells for the columns of `SPEEDS`."""
    return [
        (
            _devices(row.gpus, row.nodes),
            _between(f"{row.low:,.0f}", f"{row.high:,.0f}"),
            f"{row.efficiency:.1%}",
            _exchange(row),
            row.limiter,
            _between(duration(row.eta.epoch_low), duration(row.eta.epoch_high)) if row.eta else "unknown",
            _between(duration(row.eta.total_low), duration(row.eta.total_high)) if row.eta else "unknown",
            _between(*(f"{value:,.2f}" for value in row.cost)) if row.cost else "-",
        )
        for row in rows
    ]


def _devices(gpus: int, nodes: int) -> str:
    return f"{gpus}" if nodes == 1 else f"{nodes}×{gpus}"


def _exchange(row: ScaledSpeed) -> str:
    if row.ranks == 1:
        return "-"
    return f"{row.exchange.seconds * 1e3:.3g} ms, {row.exchange.overlap:.0%} hidden"


def _between(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
