"""The ETA from the events so far."""

from __future__ import annotations

import pytest
from helpers.tui import scripted
from helpers.tui.storing import after, window

from gputrain.engine.events import CheckpointSaved, EpochEnded, Validated


def test_estimates_count_what_is_left() -> None:
    now = after(*scripted.start(), window(step=19_800, epoch=49, epoch_step=200))
    # Half a second a step, all parts together; 200 steps are left of both.
    assert now.eta_run == pytest.approx(100)
    assert now.eta_epoch == pytest.approx(100)


def test_the_first_window_with_its_slow_first_step_is_soon_forgotten() -> None:
    slow = window(window_seconds=30.0, window_steps=1, step=1)
    usual = [window(window_seconds=0.5, window_steps=1, step=step) for step in range(2, 6)]
    assert after(*scripted.start(), slow).eta_run == pytest.approx(30 * 19_999)
    assert after(*scripted.start(), slow, *usual).eta_run == pytest.approx(0.5 * 19_995)


def test_validations_and_checkpoints_still_to_come_are_counted() -> None:
    saved = CheckpointSaved(kind="last", file="f", step=400, epoch=1, bytes=1, seconds=9.0, held=2.0)
    tried = Validated(epoch=0, step=400, metrics={"loss": 1.0}, metric="loss", best=True, images=1, seconds=8.0)
    ended = EpochEnded(epoch=0, step=400, seconds=200.0, images_per_second=1.0, train_loss=1.0)
    now = after(*scripted.start(), window(step=400, epoch=0, epoch_step=400), ended, tried, saved)
    # 49 epochs of 400 steps of half a second, each with 8 s and 2 s that training stands still.
    assert now.eta_run == pytest.approx(49 * (200 + 10))
    assert now.eta_epoch == 0


def test_an_ended_run_has_no_estimates() -> None:
    now = after(*scripted.start(), window(), scripted.finished())
    assert (now.eta_run, now.eta_epoch) == (None, None)
