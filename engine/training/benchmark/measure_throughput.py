"""Measures throughput on this machine: data workers alone, step alone, both, validation."""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator
from dataclasses import replace

import torch

from gputrain.engine.estimates.calibration import Calibration, StepCost
from gputrain.engine.hardware.external_load import ExternalLoad
from gputrain.engine.jobs.calibration_job import CalibrationOrder
from gputrain.engine.training.benchmark.build_benchmark import RunParts, Timing
from gputrain.engine.training.benchmark.measure_cache import cached_costs
from gputrain.engine.training.loader.make_loader import AnyLoader
from gputrain.engine.training.runtime import device, peak_memory
from gputrain.engine.training.runtime.batch import Batch
from gputrain.engine.training.transforms.device_transforms import DeviceBatch, DevicePrefetcher

_SUPPLY, _STEP, _TOGETHER, _VALIDATION, _CACHED = 0.2, 0.15, 0.4, 0.05, 0.05
"""Shares of the measuring time; a step is measured at two batch sizes."""
_WARM_UP = 3


def measure(order: CalibrationOrder, parts: RunParts) -> Calibration:
    """All measurements of `parts`. Raises BadInput, StopRequested, RuntimeError."""
    began, seconds, external = time.perf_counter(), order.seconds, ExternalLoad()
    supply, decode_rate, file_bytes = _supply(parts, _SUPPLY * seconds)
    steps = _steps(parts, _STEP * seconds)
    together = _together(parts, _TOGETHER * seconds)
    validation = _validation(parts, _VALIDATION * seconds) if parts.data.val is not None else None
    parts.progress("measuring what a cache would save")
    cached = cached_costs(parts.data.train, parts.config, _CACHED * seconds)
    settings, train, val = parts.config.data, parts.data.train, parts.data.val
    return Calibration(
        recipe=parts.config.recipe,
        machine=order.machine,
        made=time.time(),
        settings=order.settings,
        device=parts.compute.device.type,
        device_name=parts.compute.name,
        usable_cores=order.usable_cores,
        batch_size=settings.batch_size,
        num_workers=settings.num_workers,
        prefetch_factor=settings.prefetch_factor,
        train_images=len(train),
        val_images=len(val) if val is not None else 0,
        file_bytes=round(file_bytes * len(train)),
        supply=supply,
        decode_per_core=decode_rate,
        disk_rate=order.disk_rate,
        steps=steps,
        together=together.rate,
        spread=together.spread,
        validation=validation,
        seconds=time.perf_counter() - began,
        cached=cached,
        others=external.cores(),
    )


def _supply(parts: RunParts, seconds: float) -> tuple[float, float | None, float]:
    """Images per second of the workers, images per second of one core, mean file size in bytes."""
    parts.progress("measuring the workers")
    batches = parts.endless()
    next(batches)  # the workers are running now
    parts.train_loader.take_stats()
    timing = parts.timed(lambda: len(next(batches).labels), seconds=seconds)
    stats = parts.train_loader.take_stats()
    batches.close()
    per_core = None
    if stats.samples and stats.busy and stats.cpu_ratio:
        per_core = stats.samples / (stats.busy * stats.workers * stats.seconds * stats.cpu_ratio)
    return timing.rate, per_core, (stats.bytes_read or 0) / stats.samples if stats.samples else 0.0


def _steps(parts: RunParts, seconds: float) -> tuple[StepCost, ...]:
    """Cost of a step with half a batch and with a whole one."""
    parts.progress("measuring the step")
    batches = parts.endless()
    batch = next(batches)
    # The loader reuses the memory of its batches.
    batch = replace(batch, images=batch.images.clone(memory_format=torch.preserve_format))
    batches.close()
    count = len(batch.labels)
    # Another batch size would compile the network again, which takes too long.
    sizes = [count] if parts.config.speed.compile or count < 2 else [count // 2, count]
    return tuple(_step(parts, _part(batch, size), seconds) for size in sizes)


def _step(parts: RunParts, batch: DeviceBatch, seconds: float) -> StepCost:
    images = len(batch.labels)
    peak_memory.reset_peak(parts.compute)
    began = time.perf_counter()
    for _ in range(_WARM_UP):
        parts.do(batch)
        parts.settle()
        if time.perf_counter() - began > seconds:
            break
    before = time.process_time()
    timing = parts.timed(lambda: parts.do(batch), seconds=seconds)
    spent = (time.process_time() - before) * images / timing.images
    return StepCost(images, images / timing.rate, spent, peak_memory.peak(parts.compute))


def _together(parts: RunParts, seconds: float) -> Timing:
    parts.progress("measuring workers and step together")
    batches = parts.endless()
    parts.do(next(batches))
    parts.settle()
    timing = parts.timed(lambda: parts.do(next(batches)), seconds=seconds)
    batches.close()
    return timing


def _validation(parts: RunParts, seconds: float) -> float:
    """Images per second of validation: workers and forward pass."""
    parts.progress("measuring validation")
    feed = DevicePrefetcher(parts.config, parts.compute, train=False, task=parts.data.task)
    epochs = _epochs(parts.loader(train=False))
    batches = itertools.chain.from_iterable(feed.batches(epoch, parts.clock) for epoch in epochs)
    compute = device.for_validation(parts.compute, parts.config)
    parts.network.eval()

    def work() -> int:
        batch = next(batches)
        with compute.autocast():
            parts.network(feed.prepare(batch).images)
        return len(batch.labels)

    with torch.inference_mode():
        return parts.timed(work, seconds=seconds).rate


def _epochs(loader: AnyLoader) -> Generator[Iterator[Batch], None, None]:
    while True:
        yield loader.epoch(0)


def _part(batch: DeviceBatch, size: int) -> DeviceBatch:
    """The first `size` images of a batch."""
    changes = None if batch.changes is None else batch.changes[:size]
    return replace(
        batch,
        images=batch.images[:size],
        labels=batch.labels[:size],
        changes=changes,
        indices=batch.indices[:size],
        copied=None,
    )
