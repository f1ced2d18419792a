"""The summary of a run."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from helpers.tui import scripted

from gputrain.engine.events import (
    GpuSample,
    HardwareSample,
    ModelReady,
    Outcome,
    Prediction,
    RunEnded,
    RunStarted,
    Steps,
    Tuned,
)
from gputrain.engine.events.speed_forecast import SpeedForecast
from gputrain.tui.state import metric_values
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.state.run_store import RunStore
from gputrain.tui.state.run_summary import Summary, summary, summary_rows


def of_run(seconds: int = 60, gpus: int = 1) -> Summary:
    store = RunStore()
    store.apply_all(scripted.whole_run(seconds, gpus))
    return summary(store.snapshot())


def test_it_says_what_the_run_came_to() -> None:
    result = of_run()
    assert result.outcome is Outcome.FINISHED
    assert (result.step, result.total_steps, result.epochs) == (20_000, 20_000, 50)
    assert (result.metric, result.best_epoch, result.checkpoints) == ("accuracy", 2, 3)
    assert result.images_per_second == pytest.approx(1184, rel=0.02)
    assert result.data_wait_share == pytest.approx(0.27)
    assert result.copy_share == pytest.approx(0.03)
    assert result.peak_vram == int(17.2 * scripted.GIB)
    assert result.mean_watts == pytest.approx(282, rel=0.05)
    assert result.throttled == {"power cap": 9.0}


def test_energy_per_image_and_cost() -> None:
    def after(**settings: float) -> Summary:
        store = RunStore()
        steps = Steps(
            step=1, epoch=0, epoch_step=1, images=360, window_steps=1, window_seconds=10.0, images_per_second=36.0,
            loss=1.0, lr=0.1, data_wait=0.0, copy=None, compute=10.0, other=0.0,
        )  # fmt: skip
        sample = HardwareSample(interval=10.0, mono=3600.0, cpu_power=60.0, gpus=(GpuSample(index=0, power=300.0),))
        started = RunStarted(run_id="r", settings=settings)
        store.apply_all([started, steps, sample])
        return summary(store.snapshot())

    result = after()
    assert (result.joules, result.cpu_joules) == (3000.0, 600.0)
    assert result.joules_per_image == pytest.approx(10.0)
    assert result.cost is None
    assert (
        dict(summary_rows(result, ""))["energy"]
        == "0.8 Wh by the GPUs, 300 W mean; 0.2 Wh by the CPU; 10.00 J per image"
    )
    # One hour at 2.5, and 0.001 kWh at 400.
    assert after(cost_per_hour=2.5).cost == pytest.approx(2.5)
    assert after(cost_per_hour=2.5, price_per_kwh=400.0).cost == pytest.approx(2.9)
    assert dict(summary_rows(after(cost_per_hour=2.5), ""))["cost"] == "2.50"


def test_it_goes_through_json_and_back() -> None:
    result = of_run()
    assert msgspec.json.decode(msgspec.json.encode(result), type=Summary) == result


def test_what_was_not_measured_is_none_and_says_so() -> None:
    result = of_run(gpus=0)
    assert (result.peak_vram, result.joules, result.copy_share) == (None, None, None)
    rows = dict(summary_rows(result, "/runs/a"))
    assert rows["peak VRAM"] == "no GPU used"
    assert rows["energy"] == "not measured"
    assert rows["throttled"] == "not measured"


def test_live_changes_are_listed_with_their_effect() -> None:
    script, store = scripted.Script(), RunStore()
    promised = Prediction(low=290.0, high=329.0, limiter="the device")
    workers: dict[str, Any] = {"changes": {"num_workers": 5}, "was": {"num_workers": 1}, "prediction": promised}
    pinned: dict[str, Any] = {"changes": {"pin_memory": True}, "was": {"pin_memory": False}}
    store.apply(script.at(scripted.start()[0]))
    store.apply(script.at(Tuned(verdict="refused", **workers)))
    store.apply(script.at(Tuned(verdict="trying", **workers)))
    store.apply(script.at(Tuned(verdict="kept", before=67.2, after=276.0, **workers)))
    store.apply(script.at(Tuned(verdict="reverted", before=276.0, after=277.0, **pinned)))
    result = summary(store.snapshot())
    assert [one.verdict for one in result.tried] == ["kept", "reverted"]
    output = [value for _, value in summary_rows(result, "/runs/a")]
    assert "kept num_workers=5: 67.2 → 276 img/s (+311 %); predicted: 290–329 img/s, then the device limits" in output
    assert "reverted to pin_memory=false: with pin_memory=true 276 → 277 img/s (+0 %)" in output
    assert [title for title, _ in summary_rows(result, "/runs/a")].count("tuned") == 1


def test_a_run_that_never_stepped_has_no_shares() -> None:
    rows = dict(summary_rows(summary(Snapshot()), "/runs/a"))
    assert rows["time went to"] == "no step completed"
    assert rows["best"] == "not validated"
    assert rows["outcome"] == "unknown"
    assert rows["run directory"] == "/runs/a"


def test_an_error_and_losses_have_rows_of_their_own() -> None:
    script, store = scripted.Script(), RunStore()
    store.apply(script.at(scripted.start()[0]))
    script.seq += 5
    store.apply(script.at(RunEnded(outcome=Outcome.FAILED, reason="it failed", error="ValueError: no")))
    rows = dict(summary_rows(summary(store.snapshot()), "/runs/a"))
    assert rows["error"] == "ValueError: no"
    assert rows["not recorded"] == "5 events, 0 step windows"


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (1100.0, 1300.0, "1 100 to 1 300 img/s, limited by the disk; measured within this range (-1% from its middle)"),
        (500.0, 684.0, "500 to 684 img/s, limited by the disk; measured 101% above the middle"),
        (2268.0, 2468.0, "2 268 to 2 468 img/s, limited by the disk; measured 50% below the middle"),
    ],
)
def test_the_forecast_is_compared_with_the_result(low: float, high: float, message: str) -> None:
    foretold = SpeedForecast(
        low=low,
        high=high,
        limiter="disk",
        supply=1.0,
        step=1.0,
        disk=1.0,
        epoch_seconds=1.0,
        total_seconds=1.0,
        largest_batch=None,
        measured=0.0,
    )
    result = msgspec.structs.replace(of_run(), forecast=foretold)
    assert dict(summary_rows(result, "/runs/a"))["predicted"] == message
    assert "predicted" not in dict(summary_rows(of_run(), "/runs/a"))


def test_the_record_contains_the_forecast() -> None:
    foretold = msgspec.json.decode(
        b'{"low":1,"high":2,"limiter":"step","supply":3,"step":4,"disk":null,"epoch_seconds":5,"total_seconds":6,'
        b'"largest_batch":7,"measured":8}',
        type=SpeedForecast,
    )
    script, store = scripted.Script(), RunStore()
    started = next(event for event in scripted.start() if isinstance(event, RunStarted))
    store.apply(script.at(msgspec.structs.replace(started, forecast=foretold)))
    assert summary(store.snapshot()).forecast == foretold


def test_growing_images_have_a_row_and_their_own_share_of_the_operations() -> None:
    store, sizes = RunStore(), [128, 160, 224]
    for event in scripted.whole_run(60, 1):
        if isinstance(event, ModelReady):
            event = msgspec.structs.replace(event, image_size=224)  # noqa: PLW2901
        elif isinstance(event, Steps) and sizes:
            event = msgspec.structs.replace(event, image_size=sizes.pop(0))  # noqa: PLW2901
            store.apply(event)
            now = store.snapshot()
            assert now.model is not None
            assert now.steps is not None
            if now.model.flops_per_image and now.model.peak_flops and now.images_per_second:
                full = now.images_per_second * now.model.flops_per_image / now.model.peak_flops
                assert metric_values.mfu(now) == pytest.approx(full * (now.steps.image_size / 224) ** 2)  # type: ignore[operator]
            continue
        store.apply(event)
    assert not sizes
    result = summary(store.snapshot())
    assert result.image_sizes == (128, 224)
    assert dict(summary_rows(result, "/runs/a"))["image size"] == "training images grew from 128 to 224 pixels"
    assert "image size" not in dict(summary_rows(of_run(), "/runs/a"))


def test_bad_images_are_counted_and_the_list_is_named() -> None:
    result = msgspec.structs.replace(of_run(), bad_images=3)
    assert dict(summary_rows(result, "/runs/a"))["bad images"] == "3 unreadable, replaced; listed in bad_images.csv"
