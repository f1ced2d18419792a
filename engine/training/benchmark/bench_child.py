"""Child process that benchmarks one configuration, started by `jobs.bench_job` with ``python -m``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gputrain.engine.hardware.external_load import ExternalLoad
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.jobs.bench_job import CACHED_AT_MOST, BenchOrder, Speed
from gputrain.engine.monitor.gpus.mean_utilization import MeanUtilization
from gputrain.engine.processes.child_entry import serve_job
from gputrain.engine.processes.child_job import ProgressCallback
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl

if TYPE_CHECKING:
    from gputrain.engine.training.benchmark.build_benchmark import RunParts


def _work(order: BenchOrder, reporter: EventReporter, control: TrainerControl, tell: ProgressCallback) -> Speed:
    from gputrain.engine.training.benchmark.build_benchmark import RunParts

    with contextlib.ExitStack() as loaders:
        return _measure(order, RunParts(order.config, reporter, control, loaders, tell))


def _measure(order: BenchOrder, parts: RunParts) -> Speed:
    from gputrain.engine.training.runtime import peak_memory

    note = _fill_cache(parts)
    parts.progress("warming up")
    peak_memory.reset_peak(parts.compute)
    batches = parts.endless(start=1)
    for _ in range(order.warm_up):
        parts.do(next(batches))
    parts.settle()
    parts.progress("measuring")
    parts.clock.skip()
    with contextlib.ExitStack() as watching:
        gpus = inspect_machine().gpus if parts.compute.is_gpu else ()
        watch = watching.enter_context(MeanUtilization(gpus[0].index)) if gpus else None
        external = ExternalLoad()
        timing = parts.timed(lambda: parts.do(next(batches)), calls=order.steps)
        busy = external.cores()
    waited = parts.clock.wait
    batches.close()
    return Speed(
        images_per_second=timing.rate,
        spread=timing.spread,
        steps=order.steps,
        wait_share=min(1.0, waited / timing.seconds),
        gpu_percent=watch.mean if watch is not None else None,
        peak_bytes=peak_memory.peak(parts.compute),
        precision=parts.compute.precision,
        note=note,
        others=busy,
    )


def _fill_cache(parts: RunParts) -> str:
    """Fill the cache by one epoch of loading. Returns a note if there are too many images for that."""
    if parts.config.data.cache == "none":
        return ""
    count = len(parts.data.train)
    if count > CACHED_AT_MOST:
        return f"measured while the cache fills: {count} images are too many to read first"
    parts.progress("filling the cache")
    for number, _ in enumerate(parts.train_loader.epoch(0)):
        if number % 50 == 0:
            parts.progress(f"filling the cache {number / len(parts.train_loader):.0%}")
    return parts.train_loader.note


if __name__ == "__main__":
    serve_job(BenchOrder, _work)
