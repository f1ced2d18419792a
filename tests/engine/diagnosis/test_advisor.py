"""From recorded events to hints: warm-up, the window, phases, and two in a row to raise and to clear."""

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
    """Hints after the seconds `first` … `last`."""
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


def test_without_a_quota_none_has_run_out() -> None:
    assert signals_after(range(11, 30), per_core=(1.0,) * 16).throttled == 0.0
    assert signals_after(range(11, 30), per_core=(1.0,) * 32).throttled is None, "a quota of 16 that tells nothing"
    assert signals_after(range(11, 30), per_core=(1.0,) * 32, throttled_share=0.2).throttled == pytest.approx(0.2)


def test_workers_that_rest_while_the_run_saves_are_not_idle() -> None:
    window = EventWindow()
    for event in started():
        window.feed(event)
    for at in range(11, 30, 2):
        # One second of steps, then one of saving, in which the loader's clock goes on.
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


def test_what_was_not_measured_stays_unknown() -> None:
    assert signals_after(range(11, 30), utilization=None).utilization is None
    assert signals_after(range(11, 30), cpu=None).idle_cores is None


def test_what_is_older_than_the_window_is_forgotten() -> None:
    window = EventWindow()
    for event in started():
        window.feed(event)
    for at in range(11, 60):
        for event in second(float(at), wait=0.9 if at < 40 else 0.1):
            window.feed(event)
    found = window.signals()
    assert found is not None
    assert found.wait == pytest.approx(0.1)


def test_nothing_is_said_during_the_warm_up(advisor: Advisor) -> None:
    assert fed(advisor, 11, 18) == ()


def test_slow_steps_warm_up_by_their_number() -> None:
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
    # 5 s of warm-up and 4 s of steps lead to the first evaluation, at 18; the next are at 30, 42 and 54.
    assert next(at for at in range(11, 60) if fed(advisor, at, at)) == 30
    good = {"wait": 0.03, "utilization": 97.0}
    assert next(at for at in range(31, 90) if fed(advisor, at, at, **good) == HEALTHY) == 54


def test_that_nothing_stands_out_is_known_after_two_windows(advisor: Advisor) -> None:
    assert next(at for at in range(11, 60) if fed(advisor, at, at) is not None and advisor.has_judged) == 30
    assert is_news((), None)
    assert not is_news((), ())


def test_advice_that_was_taken_and_kept_is_not_given_any_longer(advisor: Advisor) -> None:
    assert "few-workers" in fed(advisor, 11, 45)
    (hint,) = [hint for hint in advisor.hints() if hint.id == "few-workers"]
    was = {"num_workers": 2}
    for verdict in ("trying", "kept"):
        shown = [hint.id for hint in advisor.hints()]
        assert "few-workers" in shown, verdict
        advisor.feed(Tuned(mono=46.0, verdict=verdict, changes=hint.changes, was=was))
    assert "few-workers" not in [hint.id for hint in advisor.hints()]


def test_samples_made_while_the_loop_stalled_do_not_make_the_workers_faster() -> None:
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
    # 20 samples a second by two workers, whether or not somebody waits for them.
    assert found.seconds_per_sample == pytest.approx(0.1)


def test_a_short_stall_raises_nothing(advisor: Advisor) -> None:
    good = {"wait": 0.03, "utilization": 97.0}
    fed(advisor, 11, 60, **good)
    assert fed(advisor, 61, 61, wait=1.0) == HEALTHY
    assert all(fed(advisor, at, at, **good) == HEALTHY for at in range(62, 100))


def test_a_hint_does_not_grow_milder_while_it_is_shown(advisor: Advisor) -> None:
    assert fed(advisor, 11, 60, wait=0.4) == ("few-workers",)
    assert advisor.hints()[0].severity == "critical"
    assert fed(advisor, 61, 120, wait=0.15) == ("few-workers",)
    assert advisor.hints()[0].severity == "critical"
    assert "15 % of the time" in advisor.hints()[0].evidence


def test_validation_changes_no_hint_and_the_end_clears_all(advisor: Advisor) -> None:
    assert fed(advisor, 11, 60) == ("few-workers",)
    advisor.feed(PhaseChanged(mono=61.0, phase=Phase.VALIDATING))
    assert fed(advisor, 62, 120, cpu=99.0) == ("few-workers",)
    advisor.feed(PhaseChanged(mono=121.0, phase=Phase.ENDED))
    assert advisor.hints() == ()


def test_the_graver_hint_comes_first(advisor: Advisor) -> None:
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
    ("changed", "told"),
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
def test_a_hint_is_told_again_when_its_advice_changes_or_its_figures_much(changed: dict[str, Any], told: bool) -> None:
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
    assert is_news((now,), (hint,)) is told
    assert is_news((hint, now), (hint,))
    assert is_news((), (hint,))


def test_what_was_taken_back_stands_there_without_its_old_promise(advisor: Advisor) -> None:
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
    assert "taken back" in hint.prediction.void
    assert fed(advisor, 47, 100) == ("shared-wait",)
