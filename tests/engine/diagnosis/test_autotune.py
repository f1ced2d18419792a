"""Which advice a run takes by itself."""

from __future__ import annotations

from typing import Any

from gputrain.engine.diagnosis.autotune import Autotune, tune_of
from gputrain.engine.diagnosis.window import Window
from gputrain.engine.events import Hint, Tuned


def hint(name: str, **changes: Any) -> Hint:
    return Hint(id=name, severity="warning", title="t", evidence="e", action="a.", changes=changes)


def test_only_changes_of_loading_are_taken() -> None:
    assert tune_of(hint("small-work", batch_size=64, compile=True), "me") is None
    assert tune_of(hint("cpu-quota"), "me") is None
    taken = tune_of(hint("few-workers", num_workers=4), "me")
    assert taken is not None
    assert (taken.changes, taken.aim, taken.sender) == ({"num_workers": 4}, "speed", "me")


def test_what_frees_memory_need_not_be_faster() -> None:
    taken = tune_of(hint("ram-pressure", prefetch_factor=1), "me")
    assert taken is not None
    assert taken.aim == "memory"


def test_one_after_the_other_and_none_twice() -> None:
    hints = [hint("host-bound", compile=True), hint("few-workers", num_workers=4), hint("disk", cache="ram")]
    hints.append(hint("slow-samples", prefetch_factor=8))
    autotune = Autotune()
    first = autotune.next(hints)
    assert first is not None
    assert first.changes == {"num_workers": 4}
    autotune.feed(Tuned(verdict="trying", changes=first.changes))
    assert autotune.next(hints) is None
    autotune.feed(Tuned(verdict="reverted", changes=first.changes))
    second = autotune.next(hints)
    assert second is not None
    assert second.changes == {"prefetch_factor": 8}, "a cache changes pixels"
    autotune.feed(Tuned(verdict="refused", changes=second.changes))
    assert autotune.next(hints) is None


def test_what_a_person_tried_is_not_tried_again() -> None:
    autotune = Autotune()
    autotune.feed(Tuned(verdict="reverted", changes={"num_workers": 4}))
    assert autotune.next([hint("few-workers", num_workers=4)]) is None


def test_a_window_forgets_what_was_seen_with_other_settings() -> None:
    window = Window()
    window.feed(Tuned(verdict="trying", mono=1.0, changes={"num_workers": 4}, was={"num_workers": 2}))
    assert window.signals() is None
    assert window._settings["num_workers"] == 4
    window.feed(Tuned(verdict="reverted", mono=2.0, changes={"num_workers": 4}, was={"num_workers": 2}))
    assert window._settings["num_workers"] == 2
    window.feed(Tuned(verdict="refused", mono=3.0, changes={"num_workers": 9}))
    assert window._settings["num_workers"] == 2
