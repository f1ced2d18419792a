"""The summary of a run."""

from __future__ import annotations

import msgspec
import pytest
import scripted

from gputrain.engine.events import Outcome, RunEnded
from gputrain.tui.snapshot import Snapshot
from gputrain.tui.store import RunStore
from gputrain.tui.summary import Summary, summary, summary_rows


def of_run(seconds: int = 60, gpus: int = 1) -> Summary:
    store = RunStore()
    store.apply_all(scripted.whole_run(seconds, gpus))
    return summary(store.snapshot())


def test_it_says_what_the_run_came_to() -> None:
    result = of_run()
    assert result.outcome is Outcome.FINISHED
    assert (result.step, result.total_steps, result.epochs) == (250_200, 250_200, 50)
    assert (result.metric, result.best_epoch, result.checkpoints) == ("accuracy", 2, 3)
    assert result.images_per_second == pytest.approx(1184, rel=0.02)
    assert result.data_wait_share == pytest.approx(0.27)
    assert result.copy_share == pytest.approx(0.03)
    assert result.peak_vram == int(17.2 * scripted.GIB)
    assert result.mean_watts == pytest.approx(282, rel=0.05)
    assert result.throttled == {"power cap": 9.0}


def test_it_goes_through_json_and_back() -> None:
    result = of_run()
    assert msgspec.json.decode(msgspec.json.encode(result), type=Summary) == result


def test_what_was_not_measured_is_none_and_said() -> None:
    result = of_run(gpus=0)
    assert (result.peak_vram, result.joules, result.copy_share) == (None, None, None)
    rows = dict(summary_rows(result, "/runs/a"))
    assert rows["peak VRAM"] == "no GPU was used"
    assert rows["energy"] == "not measured"
    assert rows["throttled"] == "not measured"


def test_a_run_that_never_stepped_has_no_shares() -> None:
    rows = dict(summary_rows(summary(Snapshot()), "/runs/a"))
    assert rows["time went to"] == "no step was done"
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
