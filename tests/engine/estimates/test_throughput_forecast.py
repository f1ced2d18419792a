"""Throughput forecasts by table: the measured settings themselves, and changed ones."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.calibrations import GIB, MADE, VALUES, made

from gputrain.engine.estimates.calibration import Calibration, StepCost
from gputrain.engine.estimates.throughput_forecast import forecast, largest_batch, memory_of
from gputrain.engine.events.speed_forecast import SpeedForecast


def of(calibration: Calibration = MADE, memory: int | None = 24 * GIB, **changes: Any) -> SpeedForecast:
    return forecast(calibration, {**VALUES, **changes}, memory=memory, ram_available=16 * GIB)


def test_forecast_of_measured_settings_is_the_measurement() -> None:
    predicted = of()
    assert predicted.rate == pytest.approx(380)
    assert [predicted.low, predicted.high] == pytest.approx([380 * 0.93, 380 * 1.07])
    assert predicted.limiter == "workers"
    assert predicted.supply == pytest.approx(400)
    assert predicted.step == pytest.approx(1000)


def test_large_spread_gives_a_wide_range() -> None:
    predicted = of(made(spread=95.0))
    assert [predicted.low, predicted.high] == pytest.approx([285, 475])


def test_range_stays_above_zero() -> None:
    predicted = of(made(spread=1000.0))
    assert [predicted.low, predicted.high] == pytest.approx([38, 722])


@pytest.mark.parametrize(
    ("workers", "limiter", "rate"),
    [
        (1, "workers", 200 * 0.95),
        (4, "workers", 800 * 0.95),
        (5, "step", 1000 * 0.95),
        (64, "step", 1000 * 0.95),
    ],
)
def test_workers_help_until_the_step_is_the_limit(workers: int, limiter: str, rate: float) -> None:
    predicted = of(num_workers=workers)
    assert predicted.limiter == limiter
    assert predicted.rate == pytest.approx(rate)


def test_without_workers_decoding_and_computing_add_up() -> None:
    assert of(num_workers=0).rate == pytest.approx(1 / (1 / 200 + 1 / 1000))


def test_on_the_cpu_the_cores_are_shared() -> None:
    # One core decodes 200 a second; a step of 64 takes 1.28 core-seconds, 20 ms an image: 25 ms on two cores.
    step = StepCost(64, 0.64, 1.28, None)
    calibration = made(usable_cores=2.0, device="cpu", steps=(step,), supply=300.0, num_workers=2, together=72.0)
    predicted = of(calibration)
    assert predicted.limiter == "cores"
    assert predicted.rate == pytest.approx(72.0)
    assert of(calibration, num_workers=8).rate == pytest.approx(72.0)


def test_no_part_is_slower_than_the_whole() -> None:
    # The step alone was measured at 4 images per second, steps and workers together at 7.
    slow = made(steps=(StepCost(64, 16.0, 0.1, None),), supply=6.0, together=7.0)
    predicted = of(slow)
    assert predicted.rate == pytest.approx(7.0)
    assert predicted.limiter == "step"
    assert predicted.step == predicted.supply == pytest.approx(7.0)


def test_step_time_is_linear_in_the_batch() -> None:
    # 16 ms and 0.75 ms an image.
    assert of(batch_size=128).step == pytest.approx(128 / (0.016 + 0.00075 * 128))
    assert of(made(steps=MADE.steps[1:]), batch_size=128).step == pytest.approx(1000)
    noisy = made(steps=(StepCost(32, 0.07, 0.0, None), StepCost(64, 0.064, 0.0, None)))
    assert of(noisy, batch_size=8).step == pytest.approx(1000)


def test_disk_limits_data_larger_than_memory() -> None:
    # 20 MB/s are 200 files of 100 kB.
    large = made(file_bytes=20 * GIB, train_images=20 * GIB // 100_000)
    predicted = of(large)
    assert predicted.limiter == "disk"
    assert predicted.rate == pytest.approx(200, rel=1e-3)
    assert of().disk is None
    # A cache on the disk is read from there: 250 kB of each raw image.
    assert of(large, cache="disk").limiter == "disk"
    assert of(large, cache="disk").rate == pytest.approx(80, rel=1e-3)
    assert of(made(file_bytes=20 * GIB, disk_rate=None)).limiter == "workers"


def test_workers_are_faster_with_cached_images() -> None:
    # Ten times the rate from files: the step is the limit, at the factor 0.95 of the measurement.
    predicted = of(cache="ram")
    assert predicted.limiter == "step"
    assert [predicted.rate, predicted.supply] == pytest.approx([950, 4000])
    assert of(cache="disk", cache_form="jpeg").rate == pytest.approx(570)
    # The first epoch fills the cache at the old rate.
    assert predicted.total_seconds == pytest.approx(6400 / 380 + 9 * 6400 / 950 + 10)
    assert of(made(cached=()), cache="ram").rate == pytest.approx(380)


def test_partial_cache_saves_its_share() -> None:
    # 1.6 GB are all of them: with half, an image takes 0.5 / 10 + 0.5 of the time.
    half = of(cache="ram", cache_gib=0.8e9 / GIB)
    assert half.supply == pytest.approx(400 / 0.55)


def test_times_count_validation_and_stop_at_max_steps() -> None:
    predicted = of()
    assert predicted.epoch_seconds == pytest.approx(6400 / 380 + 1)
    assert predicted.total_seconds == pytest.approx(10 * predicted.epoch_seconds)
    assert of(validate_epochs=2).epoch_seconds == pytest.approx(6400 / 380 + 0.5)
    assert of(val_split="").epoch_seconds == pytest.approx(6400 / 380)
    assert of(made(validation=None)).epoch_seconds == pytest.approx(6400 / 380)
    assert of(max_steps=50).total_seconds == pytest.approx(predicted.epoch_seconds / 2)
    assert of(batch_size=10_000).epoch_seconds > 0


def test_largest_batch_from_memory_at_two_sizes() -> None:
    # 1 GiB and 64 MiB an image.
    assert memory_of(MADE, 128) == 9 * GIB
    batch = largest_batch(MADE, 24 * GIB)
    assert batch is not None
    assert (memory_of(MADE, batch) or 0) <= 0.92 * 24 * GIB < (memory_of(MADE, batch + 1) or 0)
    assert largest_batch(MADE, GIB // 2) == 0
    assert largest_batch(MADE, None) is None
    assert largest_batch(made(steps=MADE.steps[1:]), 24 * GIB) is None
    unknown = made(steps=(StepCost(32, 0.1, 0.1, None), StepCost(64, 0.2, 0.2, None)))
    assert memory_of(unknown, 64) is None
