"""Live tuning of the data loading: bit-identical losses, changes kept or reverted."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any, Literal

import pytest
from helpers.training.training_tools import Result, draw_images, small_config, train

from gputrain.engine import events
from gputrain.engine.configuration import settings
from gputrain.engine.events import AnyEvent, Prediction, Tuned, commands
from gputrain.engine.events.commands import TuneCommand
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.shared_loop import keep_or_revert, live_tuning
from gputrain.engine.shared_loop.keep_or_revert import MeasuredRate, RateMeter, worth_keeping
from gputrain.engine.shared_loop.live_tuning import LiveTuner

CHANGES = {"num_workers": 3, "prefetch_factor": 3, "loader": "processes"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"))


def losses(result: Result) -> dict[int, float]:
    """Mean loss of each epoch; windows depend on the clock, epochs do not."""
    found = {event.epoch: event.train_loss for event in result.of(events.EpochEnded)}
    assert None not in found.values()
    return found


@pytest.mark.long
@pytest.mark.parametrize("keeps", [True, False])
def test_live_tuning_does_not_change_the_losses(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    monkeypatch.setattr(live_tuning, "LEAST_UPDATES", 4)
    monkeypatch.setattr(keep_or_revert, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(live_tuning, "worth_keeping", lambda *_: keeps)
    asked_at: list[int] = []
    poll = live_tuning.LiveTuner.update_done

    def ask_in_mid_epoch(self: LiveTuner, trained: int, step: int) -> None:
        poll(self, trained, step)
        if step == 9:
            asked_at.append(step)
            self.ask(TuneCommand(changes=CHANGES, sender="a test"), config, step)

    config = small_config(images, epochs=6, checkpoint_epochs=0, early_stop=0)
    plain = train(tmp_path / "plain", config)
    monkeypatch.setattr(live_tuning.LiveTuner, "update_done", ask_in_mid_epoch)
    tuned = train(tmp_path / "tuned", config)
    assert asked_at == [9]
    verdicts = [(event.verdict, event.step) for event in tuned.of(Tuned)]
    assert verdicts[0] == ("trying", 9)
    assert [verdict for verdict, _ in verdicts] == ["trying", "kept" if keeps else "reverted"]
    last = tuned.of(Tuned)[-1]
    assert last.was == {"num_workers": 2, "prefetch_factor": 2, "loader": "auto"}
    assert last.now == (CHANGES if keeps else last.was)
    assert last.before > 0
    assert last.after > 0
    assert losses(tuned) == losses(plain)
    assert [v.metrics for v in tuned.of(events.Validated)] == [v.metrics for v in plain.of(events.Validated)]
    kinds = [event.kind for event in tuned.of(events.LoaderStats)]
    assert "processes" in kinds
    assert tuned.ended.step == plain.ended.step == 36


def test_a_cache_without_space_is_refused_and_the_run_continues(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_tuning, "LEAST_UPDATES", 2)
    monkeypatch.setattr(keep_or_revert, "LEAST_SECONDS", 0.0)
    config = small_config(images, epochs=2)
    asked: list[int] = []
    done = live_tuning.LiveTuner.update_done

    def ask(self: LiveTuner, trained: int, step: int) -> None:
        done(self, trained, step)
        if step == 4:
            asked.append(step)
            self.ask(TuneCommand(changes={"num_workers": 10**6}), config, step)

    monkeypatch.setattr(live_tuning.LiveTuner, "update_done", ask)
    result = train(tmp_path, config)
    (told,) = result.of(Tuned)
    assert asked == [4]
    assert told.verdict == "refused"
    assert "num_workers" in told.text
    assert told.now == {}
    assert result.ended.step == 12


def rates(before: float, after: float, error: float = 0.0) -> tuple[MeasuredRate, MeasuredRate]:
    return MeasuredRate(before, error, 20), MeasuredRate(after, error, 20)


@pytest.mark.parametrize(
    ("before", "after", "error", "aim", "keep"),
    [
        (100, 120, 1.0, "speed", True),
        (100, 102, 0.1, "speed", False),
        (100, 120, 10.0, "speed", False),
        (100, 90, 0.1, "speed", False),
        (100, 99, 0.1, "memory", True),
        (100, 90, 0.1, "memory", False),
        (100, 130, 0.1, "memory", True),
    ],
)
def test_a_change_is_kept_if_it_reaches_its_aim(
    before: float, after: float, error: float, aim: Literal["speed", "memory"], keep: bool
) -> None:
    assert worth_keeping(*rates(before, after, error), aim) is keep


def test_a_rate_has_the_error_of_its_mean() -> None:
    even = RateMeter(deque([(0.1, 10)] * 50))
    assert even.rate(20).value == pytest.approx(100)
    assert even.rate(20).error == pytest.approx(0, abs=1e-9)
    uneven = RateMeter(deque([(0.05, 10), (0.15, 10)] * 10))
    assert uneven.rate(20).value == pytest.approx(100)
    # Standard deviation 0.0513 s, over √20, of a mean of 0.1 s.
    assert uneven.rate(20).error == pytest.approx(11.47, abs=0.01)


def test_a_burst_of_batches_is_one_measurement() -> None:
    # Four workers that need 0.24 s at the same time; the first burst is cut.
    bursts = RateMeter(deque([(0.0, 4), *[(0.24, 4), (0.0, 4), (0.0, 4), (0.0, 4)] * 7]))
    assert bursts.rate(20).error > 15
    assert bursts.rate(20, 4).error == pytest.approx(0, abs=1e-9)
    assert bursts.rate(20, 4).value == pytest.approx(16 / 0.24, rel=0.05)
    # More together than there are: then as many as leave five groups.
    assert bursts.rate(20, 12).error > 0


def test_a_drifting_rate_has_a_larger_error() -> None:
    seconds = [0.05] * 50 + [0.15] * 50 + [0.05] * 50 + [0.15] * 50
    slow_changes = RateMeter(deque((one, 10) for one in seconds))
    # As many measurements as groups of ten: 0.0513 s over √20, not over √200.
    assert slow_changes.rate(20).error == pytest.approx(11.47, abs=0.01)


class _Told(EventReporter):
    def __init__(self) -> None:
        self.found: list[AnyEvent] = []

    def send(self, event: AnyEvent) -> None:
        self.found.append(event)


def tuner_after(updates: int, seconds: float = 0.5) -> tuple[LiveTuner, list[Any]]:
    reporter = _Told()
    tuner = LiveTuner(reporter)
    tuner._rates.updates.extend([(seconds, 10)] * updates)
    return tuner, reporter.found


@pytest.mark.parametrize(
    ("updates", "changes", "why", "later"),
    [
        (30, {"batch_size": 64}, "batch_size can't be changed in a running training", False),
        (3, {}, "nothing can't be changed", False),
        (3, {"num_workers": 2}, "the run already has this setting", False),
        (3, {"num_workers": 4}, "too few steps", True),
    ],
)
def test_impossible_changes_are_refused_with_a_reason(
    updates: int, changes: dict[str, Any], why: str, later: bool
) -> None:
    tuner, told = tuner_after(updates)
    tuner.ask(TuneCommand(changes=changes), settings.build({"num_workers": 2}), 7)
    assert tuner.pending == {}
    (event,) = told
    assert event.verdict == "refused"
    assert why in event.text
    assert event.later is later


def test_one_change_at_a_time_and_the_verdict_has_the_predicted_gain() -> None:
    tuner, told = tuner_after(30)
    config, promised = settings.build({"num_workers": 2}), Prediction(low=30.0, high=40.0, limiter="the device")
    tuner.ask(TuneCommand(changes={"num_workers": 4}, promised=promised), config, 7)
    tuner.ask(TuneCommand(changes={"num_workers": 6}), config, 7)
    assert told[0].text == "another change is being measured"
    tuner.changed(config, tuner.wanted(config), 7)
    assert (told[1].verdict, told[1].prediction) == ("trying", promised)
    # 4 workers × 2 batches and two more are left out, though they came at once.
    for _ in range(10):
        tuner._count(0.0, 10, 8)
    for _ in range(20):
        tuner._count(0.25, 10, 9)
    assert told[2].verdict == "kept"
    assert told[2].before == pytest.approx(20)
    assert told[2].after == pytest.approx(40)
    assert tuner.pending == {}


def test_a_cache_is_measured_after_it_is_filled() -> None:
    tuner, told = tuner_after(30)
    config = settings.build({"num_workers": 1, "prefetch_factor": 1})
    tuner.ask(TuneCommand(changes={"cache": "ram"}), config, 7)
    tuner.epoch_updates = 40
    tuner.changed(config, tuner.wanted(config), 7)
    # An epoch of 40 updates that fills it, 1 batch that was ready, and two more.
    for _ in range(43):
        tuner._count(2.0, 10, 8)
    for _ in range(20):
        tuner._count(0.25, 10, 9)
    assert [event.verdict for event in told] == ["trying", "kept"]


def test_persistent_workers_are_measured_over_whole_epochs() -> None:
    tuner, told = tuner_after(30)
    tuner.epoch_updates = 40
    config = settings.build({"num_workers": 1, "prefetch_factor": 1, "persistent_workers": False})
    tuner.ask(TuneCommand(changes={"persistent_workers": True}), config, 7)
    assert told[-1].verdict == "refused", "30 updates are less than two epochs of 40"
    tuner._rates.updates.extend([(1.0, 10)] * 80)
    tuner.ask(TuneCommand(changes={"persistent_workers": True}), config, 7)
    tuner.changed(config, tuner.wanted(config), 7)
    for update in range(3 + 80):
        assert told[-1].verdict == "trying", update
        tuner._count(0.25, 10, 8)
    assert told[-1].verdict == "kept"


def test_tune_commands_and_verdicts_are_serialized_exactly() -> None:
    command = TuneCommand(changes={"num_workers": 4}, aim="memory", promised=Prediction(void="unknown"))
    assert commands.decode_command(commands.encode_command(command)) == command
    event = Tuned(verdict="kept", changes={"num_workers": 4}, was={"num_workers": 2}, before=1.0, after=2.0)
    assert events.decode(events.encode(event)) == event
