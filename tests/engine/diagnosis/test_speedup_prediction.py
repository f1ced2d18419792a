"""Predicted speed after a change, and the reasons for no prediction."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.diagnosis.made_signals import FED, GPU, READING, SETTINGS, STARVED, judged

from gputrain.engine.diagnosis.speedup_prediction import predict
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.events import Prediction


def test_more_workers_are_predicted_up_to_the_next_limit() -> None:
    promised = judged(GPU)["few-workers"].prediction
    assert promised is not None
    # 7 workers of 257.7 images/s each are above the device's rate without waits.
    assert promised.high == pytest.approx(1000 / 0.6, abs=0.1)
    assert promised.low == pytest.approx(0.88 * 1000 / 0.6, abs=0.1)
    assert promised.limiter == "the device"
    few_cores = judged(GPU, usable_cores=6.0, cpu=80.0)["few-workers"].prediction
    assert few_cores is not None
    assert few_cores.limiter == "the CPU's cores"


def promised(base: dict[str, Any], changes: dict[str, Any], **more: Any) -> Prediction:
    found = predict(Signals(settings=SETTINGS, **{**base, **more}), changes)
    assert found is not None
    return found


def test_fewer_workers_are_predicted_slower() -> None:
    half = promised(GPU, {"num_workers": 2})
    assert (half.now, half.limiter) == (1000.0, "the workers")
    assert half.low is not None
    assert half.high is not None
    assert 450 < half.low < 500 < half.high < 530
    # Eight workers take turns on the cores; three is the number that ran at a time, so that none is delayed.
    fewer = promised(STARVED, {"num_workers": 3}, workers=8)
    assert fewer.high == pytest.approx(966, abs=1)
    assert fewer.low == pytest.approx(0.88 * 966, abs=1)


def test_smaller_prefetch_is_predicted_without_gain() -> None:
    even = promised(GPU, {"prefetch_factor": 1})
    assert (even.now, even.low, even.high) == (1000.0, 880.0, 1000.0)
    assert "slow" in promised(GPU, {"prefetch_factor": 1}, slowest=0.5).void


def test_fewer_checkpoints_and_validations_are_predicted_by_arithmetic() -> None:
    validating = promised(FED, {"validate_epochs": 2}, validating=0.3)
    # Of 100 s 70 are for training; half of the other 30 are saved.
    assert (validating.now, validating.stops) == (700.0, True)
    assert validating.high == pytest.approx(700 / 0.85, abs=0.1)
    saving = promised(FED, {"checkpoint_epochs": 4}, saving=0.3)
    assert saving.high == pytest.approx(700 / (1 - 0.3 * 0.75), abs=0.1)
    assert saving.low is not None
    assert saving.high is not None
    assert 700 < saving.low < saving.high


@pytest.mark.parametrize("changes", [{"loader": "processes"}, {"compile_mode": "reduce-overhead"}, {"cache": "ram"}])
def test_unpredictable_settings_give_their_reason(changes: dict[str, Any]) -> None:
    assert "too few measurements" not in promised(GPU, changes).void


@pytest.mark.parametrize(
    ("base", "more", "word"),
    [
        (GPU, {"foreign_cpu": 1.0}, "other programs use 1.0 cores"),
        (READING, {"epoch": 1}, "a cached image"),
        (FED, {"utilization": 40.0}, "new step time"),
        (GPU, {"workers": 0, "rate": None, "sample_rate": None}, "too few measurements"),
    ],
)
def test_no_prediction_without_measurements(base: dict[str, Any], more: dict[str, Any], word: str) -> None:
    (hint,) = judged(base, **more).values()
    assert hint.prediction is not None
    assert hint.prediction.high is None
    assert word in hint.prediction.void
