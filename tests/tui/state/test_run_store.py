"""The run store: the effect of each event; batching, snapshots and replays make no difference."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.tui import scripted
from helpers.tui.storing import after, window
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from gputrain.engine.events import (
    CommandTaken,
    EpochEnded,
    GpuSample,
    HardwareSample,
    HintsChanged,
    LoaderStats,
    LogLine,
    Notice,
    Outcome,
    Phase,
    PhaseChanged,
    RunEnded,
    RunStarted,
    Validated,
)
from gputrain.engine.runs.event_log import RecordWriter, read
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.state.run_store import RATE_SECONDS, RunStore
from gputrain.tui.state.run_summary import summary


def test_an_empty_store_knows_nothing() -> None:
    now = RunStore().snapshot()
    assert now == Snapshot()
    assert (now.epochs, now.step, now.run_fraction, now.queue_fill) == (None, 0, None, None)


def test_settings_model_and_data_are_known() -> None:
    now = after(*scripted.start())
    assert now.epochs == 50
    assert now.settings["batch_size"] == 256
    assert now.data is not None
    assert now.model is not None
    assert now.phase.phase is Phase.TRAINING


def test_progress_is_shares_of_steps() -> None:
    now = after(*scripted.start(), window(step=2_000, epoch=4, epoch_step=400))
    assert now.run_fraction == pytest.approx(0.1)


def test_the_rate_is_of_the_last_seconds_and_not_of_the_last_event() -> None:
    windows = [window(images_per_second=100.0)] * 30 + [window(images_per_second=200.0)] * 5
    now = after(*windows)
    assert RATE_SECONDS == 10
    assert now.images_per_second == pytest.approx(150)


def test_shares_add_up_to_one_also_where_copies_overlap_compute() -> None:
    now = after(window(data_wait=0.3, copy=0.4, compute=0.9, other=0.0))
    assert now.shares is not None
    assert now.shares.copy is not None
    whole = now.shares.data_wait + now.shares.copy + now.shares.compute + now.shares.other
    assert whole == pytest.approx(1)
    assert min(now.shares.data_wait, now.shares.copy, now.shares.compute, now.shares.other + 1e-12) >= 0


def test_without_copies_their_share_is_unknown_and_not_zero() -> None:
    now = after(window(copy=None))
    assert now.shares is not None
    assert now.shares.copy is None


def test_a_loss_that_was_not_fetched_leaves_the_last_one() -> None:
    assert after(window(loss=2.5), window(loss=None)).loss == 2.5


def test_a_loss_that_is_no_number_spoils_no_curve() -> None:
    now = after(window(loss=2.5), window(loss=math.nan), window(loss=2.0))
    assert [point.mean for point in now.curves["loss"].recent] == [2.5, 2.0]


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_is_known_with_its_progress(phase: Phase) -> None:
    now = after(
        PhaseChanged(phase=phase, done=0, total=3000, unit="images"),
        PhaseChanged(phase=phase, done=1020, total=3000, unit="images"),
        apart=10.0,
    )
    assert now.phase.phase is phase
    assert now.phase.fraction == pytest.approx(0.34)
    assert now.phase_left == pytest.approx(10 * 1980 / 1020)


def test_the_phases_own_estimate_is_believed() -> None:
    now = after(PhaseChanged(phase=Phase.COMPILING, done=1, total=4, eta_seconds=33.0))
    assert now.phase_left == 33


def test_the_time_that_is_left_runs_down_between_two_estimates() -> None:
    loading = PhaseChanged(phase=Phase.IMPORTING, eta_seconds=8.0)
    now = after(loading, scripted.hardware(0), scripted.hardware(1), apart=2.0)
    assert now.phase_left == pytest.approx(4)
    assert now.phase_fraction == pytest.approx(0.5)
    # Longer than the last time: nobody knows.
    now = after(loading, *(scripted.hardware(number) for number in range(5)), apart=2.0)
    assert (now.phase_left, now.phase_fraction) == (None, None)


def test_a_phase_of_unknown_length_has_no_estimate() -> None:
    now = after(PhaseChanged(phase=Phase.IMPORTING), PhaseChanged(phase=Phase.IMPORTING))
    assert (now.phase_fraction, now.phase_left) == (None, None)


def test_the_best_validation_is_the_one_that_was_called_so() -> None:
    now = after(scripted.validated(0), scripted.validated(1), scripted.validated(2, best=False))
    assert now.best is not None
    assert now.best.epoch == 1
    assert len(now.validations) == 3
    assert len(now.curves["val_accuracy"].recent) == 3


def test_hints_replace_each_other_and_end_with_the_run() -> None:
    hints = HintsChanged(hints=(scripted.HINT,))
    assert after(hints).hints == (scripted.HINT,)
    assert after(hints, HintsChanged(hints=())).hints == ()
    assert after(hints, scripted.finished()).hints == ()


def test_the_log_lists_events_in_order() -> None:
    now = after(
        Notice(level="warning", text="fp16 needs a GPU: bf16 used"),
        LogLine(text="hello", skipped=12),
        EpochEnded(epoch=0, step=10, seconds=20.0, images_per_second=1184.0, train_loss=2.1),
        scripted.validated(0),
        scripted.checkpoint(0),
        CommandTaken(command="checkpoint", sender="ann@atlas", answer="sent to the trainer"),
        LoaderStats(
            workers=2, kind="threads", seconds=1, samples=8, busy=None, cpu_ratio=None, run_delay=None,
            read_share=None, bytes_read=None, disk_bytes=None, bad_images=1, bad_examples=("a.jpg: not an image",),
        ),
        RunEnded(outcome=Outcome.FAILED, reason="out of memory"),
    )  # fmt: skip
    assert [(entry.kind, entry.text) for entry in now.journal] == [
        ("warning", "fp16 needs a GPU: bf16 used"),
        ("info", "12 lines skipped: too many per second"),
        ("log", "hello"),
        ("info", "epoch 1: 20 s, 1 184 img/s, loss 2.100"),
        ("good", "validation 1: loss 2.800, accuracy 16.8 % ★ best so far"),
        ("info", "checkpoint epoch-0000.pt at step 400: 196 MiB in 0.8 s"),
        ("info", "command by ann@atlas: checkpoint: sent to the trainer"),
        ("warning", "unreadable image: a.jpg: not an image"),
        ("error", "failed: out of memory"),
    ]
    assert now.journal_count == len(now.journal)


def test_the_journal_is_bounded_and_counts_on() -> None:
    now = after(*(LogLine(text=str(number)) for number in range(2500)))
    assert len(now.journal) == 2000
    assert now.journal_count == 2500
    assert now.journal[-1].text == "2499"


def test_energy_and_throttling_are_summed_over_time() -> None:
    def sample(power: float | None, *reasons: str) -> HardwareSample:
        gpus = (GpuSample(index=0, power=power, throttle=reasons), GpuSample(index=1, power=power))
        return HardwareSample(interval=2.0, gpus=gpus)

    totals = after(sample(100.0), sample(200.0, "power cap"), sample(None, "power cap", "hardware thermal")).totals
    assert totals.joules == pytest.approx(2 * 2 * (100 + 200))
    assert totals.power_seconds == 4
    assert totals.throttled == {"hardware thermal": 2.0, "power cap": 4.0}


def test_the_energy_counter_comes_before_the_power() -> None:
    def sample(energy: float | None, power: float = 100.0, interval: float = 1.0) -> HardwareSample:
        return HardwareSample(interval=interval, gpus=(GpuSample(index=0, uuid="a", power=power, energy=energy),))

    # The first sample has no difference yet; then the counter; a driver that was loaded again; no counter.
    totals = after(sample(5000.0), sample(5250.0), sample(20.0), sample(None), sample(None)).totals
    assert totals.joules == pytest.approx(100 + 250 + 100 + 100 + 100)
    # What the GPU used between a stop and a resume belongs to somebody else.
    totals = after(sample(5000.0), *scripted.start(), sample(9000.0), sample(9010.0)).totals
    assert totals.joules == pytest.approx(100 + 100 + 10)


def test_epochs_log_their_energy() -> None:
    ended = EpochEnded(epoch=0, step=1, train_loss=1.0, seconds=2.0, images_per_second=50.0)
    with_energy = structs.replace(ended, gpu_joules=7200.0, cpu_joules=3600.0)
    texts = [entry.text for entry in after(*scripted.start(), ended, with_energy).journal[-2:]]
    assert texts == ["epoch 1: 2 s, 50.0 img/s, loss 1.000", "epoch 1: 2 s, 50.0 img/s, loss 1.000, 3.0 Wh"]


def test_without_a_gpu_nothing_is_claimed_about_one() -> None:
    totals = after(scripted.hardware(0, gpus=0), window()).totals
    assert (totals.joules, totals.peak_vram, totals.throttled) == (None, None, {})


def test_missing_numbers_are_counted_as_lost() -> None:
    script, store = scripted.Script(), RunStore()
    store.apply(script.at(window()))
    script.seq += 7
    store.apply(script.at(window(dropped=3)))
    totals = store.snapshot().totals
    assert (totals.lost, totals.dropped) == (7, 3)


def test_time_goes_on_after_a_reboot_and_stands_still_between_supervisors() -> None:
    store = RunStore()
    store.apply(RunStarted(run_id="a", settings={}, seq=1, mono=1000.0))
    store.apply(scripted.hardware(0).__class__(interval=1.0, seq=2, mono=1060.0))
    store.apply(RunStarted(run_id="a", settings={}, seq=3, mono=5.0))
    store.apply(HardwareSample(interval=1.0, seq=4, mono=25.0))
    assert store.snapshot().elapsed == pytest.approx(80)


@pytest.mark.parametrize(
    ("outcome", "reason", "kind", "text"),
    [
        (Outcome.FINISHED, "all steps are done", "good", "finished: all steps are done"),
        (Outcome.STOPPED, "stopped on request, at once", "info", "stopped on request, at once"),
        (Outcome.FAILED, "out of memory", "error", "failed: out of memory"),
    ],
)
def test_the_outcome_is_shown_once_in_its_color(outcome: Outcome, reason: str, kind: str, text: str) -> None:
    last = after(RunEnded(outcome=outcome, reason=reason)).journal[-1]
    assert (last.kind, last.text) == (kind, text)


def test_a_run_that_is_taken_up_again_has_no_outcome() -> None:
    now = after(*scripted.start(), scripted.finished(), scripted.start()[0])
    assert now.outcome is None


def test_the_best_is_kept_over_validations_without_a_metric() -> None:
    odd = Validated(epoch=3, step=9, metrics={}, metric="accuracy", best=False, images=1, seconds=1.0)
    now = after(scripted.validated(0), odd)
    assert now.best is not None
    assert now.best.epoch == 0


SOME_RUN = scripted.whole_run(seconds=12, gpus=2)


@settings(deadline=None, max_examples=40)
@given(cuts=st.lists(st.integers(0, len(SOME_RUN)), max_size=6), looks=st.booleans())
def test_batches_and_looks_make_no_difference(cuts: list[int], looks: bool) -> None:
    one_by_one = RunStore()
    for event in SOME_RUN:
        one_by_one.apply(event)
    in_batches = RunStore()
    edges = [0, *sorted(cuts), len(SOME_RUN)]
    for first, last in pairwise(edges):
        in_batches.apply_all(SOME_RUN[first:last])
        if looks:
            in_batches.snapshot()
    assert in_batches.snapshot() == one_by_one.snapshot()
    assert summary(in_batches.snapshot()) == summary(one_by_one.snapshot())


def test_a_replayed_record_gives_the_summary_of_the_live_view(tmp_path: Path) -> None:
    live = RunStore()
    writer = RecordWriter(tmp_path / "events.jsonl")
    for event in [*scripted.start(), *(event for event, _ in scripted.training(4)), scripted.finished()]:
        recorded, _ = writer.append(event)
        live.apply(recorded)
    writer.close()
    replayed = RunStore()
    replayed.apply_all(read(tmp_path / "events.jsonl"))
    assert replayed.snapshot() == live.snapshot()
    assert summary(replayed.snapshot()) == summary(live.snapshot())
