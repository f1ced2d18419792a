"""From recorded events to hints: warm-up, the window, phases, and two windows in a row to raise or clear a hint."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from helpers.diagnosis.made_events import second, started

from gputrain.engine.diagnosis.advisor import Advisor, is_news
from gputrain.engine.diagnosis.windows.event_window import EventWindow
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.events import (
    HardwareSample,
    Hint,
    LoaderStats,
    Phase,
    PhaseChanged,
    Prediction,
    Steps,
    Tuned,
)

HEALTHY = ("compute-bound",)


def fed(advisor: Advisor, first: int, last: int, **more: Any) -> tuple[str, ...]:
    """Ids of the hints after the seconds `first` … `last`."""
    for at in range(first, last + 1):
        for event in second(float(at), **more):
            advisor.feed(event)
    return tuple(hint.id for hint in advisor.hints())


@pytest.fixture
def advisor() -> Advisor:
    one = Advisor()
    for event in started():
        one.feed(event)
    return one


def signals_after(seconds: range, device: str = "cuda:0", **more: Any) -> Signals:
    window = EventWindow()
    for event in started(device):
        window.feed(event)
    for at in seconds:
        for event in second(float(at), **more):
            window.feed(event)
    found = window.signals()
    assert found is not None
    return found


def test_signals_are_means_over_the_window() -> None:
    found = signals_after(range(11, 30))
    assert found.wait == pytest.approx(0.4)
    assert found.compute == pytest.approx(0.6)
    assert found.copy == pytest.approx(0.01)
    assert (found.workers, found.on_gpu, found.usable_cores) == (2, True, 16.0)
    assert found.busy == pytest.approx(0.95)
    assert found.from_disk == pytest.approx(0.5)
    assert found.cpu == pytest.approx(25.0)
    assert found.idle_cores == pytest.approx(12.0)
    assert found.ram_used == pytest.approx(0.4)
    assert found.run_memory == 30
    assert found.vram == pytest.approx(0.25)


def test_without_a_quota_throttling_is_zero() -> None:
    assert signals_after(range(11, 30), per_core=(1.0,) * 16).throttled == 0.0
    assert signals_after(range(11, 30), per_core=(1.0,) * 32).throttled is None, (
        "a quota of 16 cores without throttling counters"
    )
    assert signals_after(range(11, 30), per_core=(1.0,) * 32, throttled_share=0.2).throttled == pytest.approx(0.2)


def test_workers_idle_during_checkpoints_count_as_busy() -> None:
    window = EventWindow()
    for event in started():
        window.feed(event)
    for at in range(11, 30, 2):
        # One second of steps, then one of saving, in which the loader's clock runs on.
        for event in second(float(at)):
            whole = isinstance(event, LoaderStats)
            window.feed(msgspec.structs.replace(event, seconds=2.0, busy=0.5) if whole else event)
        window.feed(PhaseChanged(mono=at + 0.1, phase=Phase.SAVING))
        window.feed(PhaseChanged(mono=at + 1.1, phase=Phase.TRAINING))
    found = window.signals()
    assert found is not None
    assert found.busy == pytest.approx(1.0)
    assert found.saving == pytest.approx(0.5)
    assert found.sample_rate == pytest.approx(20)


def test_the_gpu_is_the_one_that_cuda_names() -> None:
    assert signals_after(range(11, 30)).utilization == pytest.approx(50.0)
    assert signals_after(range(11, 30), device="cuda:1").utilization == pytest.approx(100.0)
    assert signals_after(range(11, 30), device="cpu").utilization is None


def test_unmeasured_signals_stay_none() -> None:
    assert signals_after(range(11, 30), utilization=None).utilization is None
    assert signals_after(range(11, 30), cpu=None).idle_cores is None


def test_events_older_than_the_window_are_dropped() -> None:
    window = EventWindow()
    for event in started():
        window.feed(event)
    for at in range(11, 60):
        for event in second(float(at), wait=0.9 if at < 40 else 0.1):
            window.feed(event)
    found = window.signals()
    assert found is not None
    assert found.wait == pytest.approx(0.1)


def test_no_hints_during_warm_up(advisor: Advisor) -> None:
    assert fed(advisor, 11, 18) == ()


def test_warm_up_needs_a_number_of_steps() -> None:
    window = EventWindow()
    for event in started():
        window.feed(event)
    (step, *_) = second(20.0)
    assert isinstance(step, Steps)
    for at in range(20, 29):
        window.feed(Steps(**{n: getattr(step, n) for n in step.__struct_fields__} | {"mono": at, "window_steps": 1}))
    assert not window.warm
    window.feed(Steps(**{n: getattr(step, n) for n in step.__struct_fields__} | {"mono": 29.0, "window_steps": 1}))
    assert window.warm


def test_two_evaluations_raise_a_hint_and_two_clear_it(advisor: Advisor) -> None:
    # After 5 s of warm-up and 4 s of steps the first evaluation is at 18 s; the next are at 30, 42 and 54 s.
    assert next(at for at in range(11, 60) if fed(advisor, at, at)) == 30
    good = {"wait": 0.03, "utilization": 97.0}
    assert next(at for at in range(31, 90) if fed(advisor, at, at, **good) == HEALTHY) == 54


def test_absence_of_hints_is_known_after_two_windows(advisor: Advisor) -> None:
    assert next(at for at in range(11, 60) if fed(advisor, at, at) is not None and advisor.has_judged) == 30
    assert is_news((), None)
    assert not is_news((), ())


def test_kept_change_removes_its_hint(advisor: Advisor) -> None:
    assert "few-workers" in fed(advisor, 11, 45)
    (hint,) = [hint for hint in advisor.hints() if hint.id == "few-workers"]
    was = {"num_workers": 2}
    for verdict in ("trying", "kept"):
        shown = [hint.id for hint in advisor.hints()]
        assert "few-workers" in shown, verdict
        advisor.feed(Tuned(mono=46.0, verdict=verdict, changes=hint.changes, was=was))
    assert "few-workers" not in [hint.id for hint in advisor.hints()]


def test_samples_prepared_during_stalls_do_not_raise_the_worker_rate() -> None:
    """A worker that works through a stall of a second after each second of steps."""
    window = EventWindow(warm_up=1.0)
    for event in started():
        window.feed(event)
    for at in range(11, 25):
        steps, workers, machine = second(float(at))
        longer = msgspec.structs.replace(workers, workers=2, seconds=2.0, samples=40, busy=1.0)
        for event in (steps, longer, machine):
            window.feed(event)
    found = window.signals()
    assert found is not None
    assert found.busy == pytest.approx(1.0)
    # 20 samples a second by two workers, whether or not the loop waits for them.
    assert found.seconds_per_sample == pytest.approx(0.1)


def test_a_short_stall_raises_no_hint(advisor: Advisor) -> None:
    good = {"wait": 0.03, "utilization": 97.0}
    fed(advisor, 11, 60, **good)
    assert fed(advisor, 61, 61, wait=1.0) == HEALTHY
    assert all(fed(advisor, at, at, **good) == HEALTHY for at in range(62, 100))


def test_severity_does_not_fall_while_a_hint_is_shown(advisor: Advisor) -> None:
    assert fed(advisor, 11, 60, wait=0.4) == ("few-workers",)
    assert advisor.hints()[0].severity == "critical"
    assert fed(advisor, 61, 120, wait=0.15) == ("few-workers",)
    assert advisor.hints()[0].severity == "critical"
    assert "15 % of the time" in advisor.hints()[0].evidence


def test_validation_changes_no_hint_and_the_end_clears_all_hints(advisor: Advisor) -> None:
    assert fed(advisor, 11, 60) == ("few-workers",)
    advisor.feed(PhaseChanged(mono=61.0, phase=Phase.VALIDATING))
    assert fed(advisor, 62, 120, cpu=99.0) == ("few-workers",)
    advisor.feed(PhaseChanged(mono=121.0, phase=Phase.ENDED))
    assert advisor.hints() == ()


def test_hints_are_sorted_by_severity(advisor: Advisor) -> None:
    assert fed(advisor, 11, 60, wait=0.15) == ("few-workers",)
    for at in range(61, 100):
        for event in second(float(at), wait=0.3):
            advisor.feed(
                event
                if not isinstance(event, HardwareSample)
                else HardwareSample(
                    mono=at,
                    interval=1.0,
                    cpu_percent=25.0,
                    usable_cores=16.0,
                    run_cpu=4.0,
                    foreign_cpu=0.0,
                    ram_total=100,
                    ram_available=7,
                )
            )
    assert [(hint.id, hint.severity) for hint in advisor.hints()] == [
        ("few-workers", "critical"),
        ("ram-pressure", "warning"),
    ]


@pytest.mark.parametrize(
    ("changed", "reported"),
    [
        ({"severity": "critical"}, True),
        ({"changes": {"num_workers": 6}}, True),
        ({"prediction": Prediction(void="others use 2.0 cores")}, True),
        ({"prediction": Prediction(low=1400.0, high=1600.0, limiter="the device")}, True),
        ({"prediction": Prediction(low=900.0, high=1000.0, limiter="the workers")}, True),
        ({"share": 0.45}, True),
        ({"share": 0.33, "prediction": Prediction(low=920.0, high=1030.0, limiter="the device")}, False),
        ({"evidence": "the loop waited 31 %"}, False),
    ],
)
def test_hint_is_reported_again_when_it_changes_enough(changed: dict[str, Any], reported: bool) -> None:
    hint = Hint(
        id="few-workers",
        severity="warning",
        title="t",
        evidence="the loop waited 30 %",
        action="a.",
        changes={"num_workers": 4},
        share=0.3,
        prediction=Prediction(low=900.0, high=1000.0, limiter="the device"),
    )
    now = msgspec.structs.replace(hint, **changed)
    assert is_news((now,), (hint,)) is reported
    assert is_news((hint, now), (hint,))
    assert is_news((), (hint,))


def test_reverted_change_loses_its_prediction(advisor: Advisor) -> None:
    assert "few-workers" in fed(advisor, 11, 45)
    (hint,) = [hint for hint in advisor.hints() if hint.id == "few-workers"]
    assert hint.prediction is not None
    assert hint.prediction.high is not None
    back = Tuned(
        mono=46.0,
        verdict="reverted",
        changes=hint.changes,
        was={"num_workers": 2},
        before=20.0,
        after=20.2,
        prediction=hint.prediction,
    )
    advisor.feed(back)
    (hint,) = [hint for hint in advisor.hints() if hint.id == "few-workers"]
    assert hint.prediction is not None
    assert "reverted" in hint.prediction.void
    assert fed(advisor, 47, 100) == ("shared-wait",)
