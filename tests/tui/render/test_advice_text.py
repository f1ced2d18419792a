"""Advice and verdicts in words."""

from __future__ import annotations

import pytest

from gputrain.engine.events import Hint, Prediction, Tuned
from gputrain.tui.render.advice_text import promise, settings_words, skipped_hints, verdict
from gputrain.tui.screens.dashboard.why import WhyScreen, why_text

RANGE = Prediction(low=1090.0, high=1240.0, limiter="the device")
ASKED = {"num_workers": 8, "persistent_workers": True}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            Tuned(
                verdict="trying", changes=ASKED, was={"num_workers": 4, "persistent_workers": False}, prediction=RANGE
            ),
            (
                "trying num_workers=8 persistent_workers=true (was num_workers=4 persistent_workers=false); "
                "predicted: 1 090–1 240 img/s, then the device limits"
            ),
        ),
        (
            Tuned(verdict="kept", changes={"num_workers": 8}, was={"num_workers": 4}, before=900.0, after=1200.0),
            "kept num_workers=8: 900 → 1 200 img/s (+33 %)",
        ),
        (
            Tuned(verdict="reverted", changes={"num_workers": 8}, was={"num_workers": 4}, before=900.0, after=891.0),
            "reverted to num_workers=4: with num_workers=8 900 → 891 img/s (-1 %)",
        ),
        (Tuned(verdict="refused", changes={"num_workers": 8}, text="no room"), "num_workers=8 not changed: no room"),
    ],
)
def test_what_became_of_a_change(event: Tuned, words: str) -> None:
    assert verdict(event) == words


def test_a_promise_or_why_there_is_none() -> None:
    assert promise(RANGE) == "1 090–1 240 img/s, then the device limits"
    stops = Prediction(low=809.0, high=824.0, limiter="training itself", now=700.0, stops=True)
    assert promise(stops) == "700 → 809–824 img/s including its stops, then training itself limits"
    assert (
        promise(Prediction(void="the cache is still being filled")) == "no prediction: the cache is still being filled"
    )


def test_what_a_running_training_can_not_take_is_for_the_next() -> None:
    later = Hint(id="x", severity="warning", title="T", evidence="e", action="a.", changes={"compile": True})
    nothing = Hint(id="y", severity="critical", title="\x1b[1mU", evidence="e", action="a.")
    remark = Hint(id="z", severity="info", title="V", evidence="e", action="a.")
    told = skipped_hints([nothing, later, remark])
    assert told.endswith(
        "U: no setting fixes this. T: only for the next run, because it changes training or checkpoints: compile=true"
    )
    assert "\x1b" not in told
    assert "\x1b" not in settings_words({"cache": "\x1b[31m"})


def test_the_reasons_in_a_poor_terminal_and_without_hints() -> None:
    hint = Hint(id="x", severity="info", title="t", evidence="e", action="a.", path=("✓ first", "✗ second", "? third"))
    text = WhyScreen([hint, hint], ascii_only=True)._text.plain
    assert text.isascii()
    assert text.count("e") > 2
    assert text.count("second") == 1, "one line: the second hint has the same path"
    assert "decisions: as above" in text
    assert "No bottleneck found" in why_text([]).plain
