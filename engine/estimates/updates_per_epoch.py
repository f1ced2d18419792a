"""Updates per epoch, images per update, the scaled learning rate and the time of a run, before it starts. Pure.

Times are in seconds. `tests/engine/estimates/test_host_memory.py` reproduces the numbers of seed 003.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from gputrain.engine.configuration import global_batch
from gputrain.engine.configuration.lr_scaling import scaled_lr
from gputrain.engine.estimates.host_memory import (
    FLOAT32_OVERHEAD,
    DataFacts,
    batch_bytes,
    buffered_batches,
    value_bytes,
)
from gputrain.engine.estimates.worker_count import worker_limit


class Rate(Struct, frozen=True):
    """A training speed, measured here or on a machine of the same kind."""

    low: float
    """Images per second."""
    high: float
    source: str


class UpdateCounts(Struct, frozen=True):
    """Updates of the weights."""

    total_batch: int
    """Images per update: batch_size × accumulation_steps × GPUs."""
    scaled_lr: float
    """Peak learning rate, scaled to the total batch."""
    steps_per_epoch: int | None
    """Batches per epoch on each GPU; None without a count of the images."""


class Eta(Struct, frozen=True):
    """Estimated seconds, for the highest and the lowest rate of a range."""

    epoch_low: float
    epoch_high: float
    total_low: float
    total_high: float
    source: str


class ScaleRow(Struct, frozen=True):
    """A row of the table over numbers of GPUs: sums of the settings per GPU."""

    gpus: int
    """GPUs of a machine."""
    total_batch: int
    total_workers: int
    buffer: int
    """Bytes on each machine; likewise `buffer_float32`."""
    buffer_float32: int
    scaled_lr: float
    nodes: int = 1
    """Machines with so many GPUs each."""


class BufferRow(Struct, frozen=True):
    """A row of the table over num_workers and prefetch_factor."""

    workers: int
    prefetch: int
    batches: int
    buffer: int
    buffer_float32: int


def update_counts(values: Mapping[str, Any], gpus: int = 1, facts: DataFacts | None = None) -> UpdateCounts:
    """Images per update, the learning rate scaled linearly to them, and batches per epoch."""
    per_step: int = values["batch_size"] * gpus
    total = per_step * values["accumulation_steps"]
    lr = scaled_lr(values["lr"], values["lr_batch_size"], total)
    steps = None
    if facts and facts.train_images:
        # In the last step perhaps not every GPU has a batch.
        steps = max(1, -(-(facts.train_images // (values["batch_size"] * facts.group)) // gpus))
    return UpdateCounts(total, lr, steps)


def eta(values: Mapping[str, Any], facts: DataFacts | None, rate: Rate | None) -> Eta | None:
    """Time per epoch and in all, without validation; None when the data or the speed is not known."""
    if facts is None or rate is None or not facts.train_images or global_batch.rank_count(values) > 1:
        # The speed of several ranks together was not measured.
        return None
    steps = update_counts(values, 1, facts).steps_per_epoch or 1
    images = steps * values["batch_size"] * facts.group
    share = min(1.0, values["max_steps"] / (steps * values["epochs"])) if values["max_steps"] else 1.0
    low, high = images / rate.high, images / rate.low
    epochs = values["epochs"] * share
    return Eta(low, high, low * epochs, high * epochs, rate.source)


SHAPES = ((1, 1), (2, 1), (4, 1), (8, 1), (1, 4))
"""GPUs of a machine and machines, of each row of the tables: those of seed 003."""


def scale_table(values: Mapping[str, Any], shapes: Sequence[tuple[int, int]] = SHAPES) -> tuple[ScaleRow, ...]:
    """Totals of the same settings per GPU for each number of GPUs and machines."""
    own, float32 = _buffers({**values, "devices": 1})
    rows = []
    for gpus, nodes in shapes:
        sums = update_counts(values, gpus * nodes)
        workers = values["num_workers"] * gpus * nodes
        buffers = own * gpus, int(float32 * gpus)
        rows.append(ScaleRow(gpus, sums.total_batch, workers, *buffers, sums.scaled_lr, nodes))
    return tuple(rows)


def buffer_table(values: Mapping[str, Any], cores: float) -> tuple[BufferRow, ...]:
    """RAM buffers for four combinations of num_workers and prefetch_factor.

    Workers are 200 %, 100 %, 75 % and 50 % of the cores, with a prefetch_factor of 8, 4, 3 and 4. On 16 cores these are
    the rows of seed 003: 32 × 8, 16 × 4, 12 × 3, 8 × 4.
    """
    rows = []
    for share, prefetch in ((2.0, 8), (1.0, 4), (0.75, 3), (0.5, 4)):
        workers = worker_limit(cores, share)
        own, float32 = _buffers({**values, "num_workers": workers, "prefetch_factor": prefetch, "devices": 1})
        rows.append(BufferRow(workers, prefetch, workers * prefetch, own, int(float32)))
    return tuple(rows)


def _buffers(values: Mapping[str, Any]) -> tuple[int, float]:
    """Bytes of the buffered batches: as stored here, and as float32 in a plain DataLoader."""
    batches = buffered_batches(values)
    own = batch_bytes(values, value_bytes(values)) * batches
    return own, batch_bytes(values, 4) * batches * FLOAT32_OVERHEAD
