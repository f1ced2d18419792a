"""Autotune: which hints a run applies by itself."""

from __future__ import annotations

from typing import Any

from gputrain.engine.diagnosis.autotune import Autotune, tune_command
from gputrain.engine.diagnosis.windows.event_window import EventWindow
from gputrain.engine.events import Hint, Phase, PhaseChanged, RunStarted, Tuned


def hint(name: str, **changes: Any) -> Hint:
    return Hint(id=name, severity="warning", title="t", evidence="e", action="a.", changes=changes)


def test_only_live_settings_become_commands() -> None:
    assert tune_command(hint("small-work", batch_size=64, compile=True), "me") is None
    assert tune_command(hint("cpu-quota"), "me") is None
    taken = tune_command(hint("few-workers", num_workers=4), "me")
    assert taken is not None
    assert (taken.changes, taken.aim, taken.sender) == ({"num_workers": 4}, "speed", "me")


def test_memory_hints_aim_at_memory() -> None:
    taken = tune_command(hint("ram-pressure", prefetch_factor=1), "me")
    assert taken is not None
    assert taken.aim == "memory"


def test_one_change_at_a_time_and_none_twice() -> None:
    hints = [hint("host-bound", compile=True), hint("few-workers", num_workers=4), hint("disk", cache="ram")]
    hints.append(hint("slow-samples", prefetch_factor=8))
    autotune = Autotune()
    first = autotune.next(hints)
    assert first is not None
    assert first.changes == {"num_workers": 4}
    assert autotune.next(hints) is None, "the trainer has not answered yet"
    autotune.feed(Tuned(verdict="trying", changes=first.changes, was={"num_workers": 2}))
    assert autotune.next(hints) is None
    autotune.feed(Tuned(verdict="reverted", changes=first.changes, was={"num_workers": 2}))
    second = autotune.next(hints)
    assert second is not None
    assert second.changes == {"prefetch_factor": 8}, "a cache changes pixels"
    autotune.feed(Tuned(verdict="refused", changes=second.changes, text="there is no room for so many"))
    assert autotune.next(hints) is None


def began(**settings: Any) -> Autotune:
    autotune = Autotune()
    autotune.feed(RunStarted(run_id="r", mono=1.0, settings=settings))
    return autotune


def requests(autotune: Autotune, **changes: Any) -> bool:
    """Whether autotune requests `changes`."""
    return autotune.next([hint("few-workers", **changes)]) is not None


def at(mono: float) -> PhaseChanged:
    return PhaseChanged(phase=Phase.TRAINING, mono=mono)


def test_refused_for_now_is_requested_again_with_growing_delay() -> None:
    autotune, times = began(num_workers=1), []
    for second in range(2, 300):
        autotune.feed(at(float(second)))
        if requests(autotune, num_workers=4):
            times.append(second)
            autotune.feed(Tuned(verdict="refused", changes={"num_workers": 4}, later=True, mono=float(second)))
    assert times == [2, 17, 47, 107, 227]
    autotune.feed(at(1000.0))
    assert requests(autotune, num_workers=4)


def test_request_without_answer_is_repeated_after_a_timeout() -> None:
    autotune = began(num_workers=1)
    assert requests(autotune, num_workers=4)
    autotune.feed(at(500.0))
    assert not requests(autotune, num_workers=4)
    autotune.feed(at(700.0))
    assert requests(autotune, num_workers=4)


def test_user_request_during_a_trial_does_not_end_it() -> None:
    autotune = began(num_workers=1)
    autotune.feed(Tuned(verdict="trying", changes={"num_workers": 4}, was={"num_workers": 1}))
    autotune.feed(Tuned(verdict="refused", changes={"prefetch_factor": 4}, later=True))
    assert not requests(autotune, pin_memory=False)


def test_request_is_repeated_after_the_trainer_died() -> None:
    autotune = began(num_workers=1)
    assert requests(autotune, num_workers=4)
    autotune.feed(PhaseChanged(phase=Phase.STARTING))
    assert requests(autotune, num_workers=4)


def test_direction_without_gain_is_not_tried_again() -> None:
    autotune = began(num_workers=2, pin_memory=False)
    autotune.feed(Tuned(verdict="reverted", changes={"num_workers": 5}, was={"num_workers": 2}))
    assert not requests(autotune, num_workers=6)
    assert requests(autotune, num_workers=1)
    autotune.feed(Tuned(verdict="reverted", changes={"pin_memory": True}, was={"pin_memory": False}))
    assert not requests(autotune, pin_memory=True)


def test_kept_direction_is_followed_but_not_back() -> None:
    autotune = began(num_workers=1)
    autotune.feed(Tuned(verdict="kept", changes={"num_workers": 4}, was={"num_workers": 1}))
    assert not requests(autotune, num_workers=1)
    assert requests(autotune, num_workers=6)


def test_change_tried_by_the_user_is_not_tried_again() -> None:
    autotune = Autotune()
    autotune.feed(Tuned(verdict="reverted", changes={"num_workers": 4}, was={"num_workers": 2}))
    assert autotune.next([hint("few-workers", num_workers=4)]) is None


def test_window_drops_events_of_other_settings() -> None:
    window = EventWindow()
    window.feed(Tuned(verdict="trying", mono=1.0, changes={"num_workers": 4}, was={"num_workers": 2}))
    assert window.signals() is None
    assert window._settings["num_workers"] == 4
    window.feed(Tuned(verdict="reverted", mono=2.0, changes={"num_workers": 4}, was={"num_workers": 2}))
    assert window._settings["num_workers"] == 2
    window.feed(Tuned(verdict="refused", mono=3.0, changes={"num_workers": 9}))
    assert window._settings["num_workers"] == 2
