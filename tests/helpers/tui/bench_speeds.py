"""Measured speeds as a benchmark job returns them."""

from __future__ import annotations

from gputrain.engine.jobs.bench_job import Speed


def speed(rate: float, others: float | None = None) -> Speed:
    return Speed(
        images_per_second=rate,
        spread=0.02 * rate,
        others=others,
        steps=3,
        wait_share=0.25,
        gpu_percent=None,
        peak_bytes=1 << 30,
        precision="fp32",
    )
