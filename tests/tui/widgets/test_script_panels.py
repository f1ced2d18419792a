"""What the dashboard says of a script of the user's own, drawn without a screen."""

from __future__ import annotations

import pytest
from helpers.scripts.made_events import LOADER, NO_WORKERS, STEPS, started
from helpers.tui.drawing import text, view
from msgspec.structs import replace

from gputrain.engine.common.units import Unit
from gputrain.engine.events import AnyEvent, HardwareSample, LoaderFound, Prediction, Scalars, ScriptModel, Tuned
from gputrain.tui.actions.export_curves import curves_csv
from gputrain.tui.cli.plain_output import PlainLines
from gputrain.tui.render.advice_text import promise, verdict
from gputrain.tui.screens.dashboard.quit_dialog import choices
from gputrain.tui.state.run_summary import summary, summary_rows
from gputrain.tui.state.script_values import short_command
from gputrain.tui.widgets.panels.compact import draw_compact
from gputrain.tui.widgets.panels.curves import LossPanel, MetricPanel, ThroughputPanel
from gputrain.tui.widgets.panels.gpus import absent
from gputrain.tui.widgets.panels.pipeline import draw_pipeline, stages
from gputrain.tui.widgets.panels.run_panel import draw_run
from gputrain.tui.widgets.panels.status_line import draw_status

WAITS = replace(STEPS, data_wait=0.9, compute=0.05, other=0.05)
NO_LOADER = replace(STEPS, wait_unknown=True, epoch_step=0, images_per_second=0.0)


def scalars(**values: float) -> Scalars:
    return Scalars(mono=12.0, source="tensorboard", values=values)


def test_the_status_line_names_the_epochs_batch_and_no_unknown_total() -> None:
    shown = text([draw_status(view(*started(), STEPS), 200)])
    for part in ("mine", "epoch 1", "33 %", "160 samples/s", "step 500, batch   500/1 500"):
        assert part in shown
    assert "None" not in shown
    assert "img/s" not in shown


def test_without_a_loader_there_is_no_epoch_and_the_wait_is_unknown() -> None:
    now = view(*started(None), NO_LOADER)
    status = text([draw_status(now, 200)])
    assert "step 500" in status
    assert "epoch" not in status
    assert "%" not in status
    pipeline = text(draw_pipeline(now.now, 150, 4))
    assert "step time: the script reads no DataLoader, so what it waits for is unknown" in pipeline
    assert "bottleneck" not in pipeline
    assert "0 %" not in pipeline
    assert "none: data wait unknown" in text(draw_run(now.now, 38, 12))
    assert pipeline.count("unknown") == 4
    assert pipeline.count("no DataLoader") == 3
    stages = text(draw_pipeline(now.now, 78, 2))
    assert "workers unknown ▶ queue unknown ▶ CPU compute unknown" in stages


def test_samples_that_are_not_counted_are_no_rate_of_0() -> None:
    now = view(*started(), replace(STEPS, wait_unknown=True, images_per_second=0.0))
    assert now.now.images_per_second is None
    assert "0 samples/s" not in text([draw_status(now, 200)])


def test_a_loader_that_another_thread_reads_leaves_the_wait_unknown() -> None:
    now = view(*started(), replace(STEPS, wait_unknown=True))
    assert "does not read its DataLoader itself" in text(draw_pipeline(now.now, 150, 4))


def test_an_epoch_that_a_framework_counts_needs_no_loader() -> None:
    status = text([draw_status(view(*started(None), replace(NO_LOADER, epoch=1, epoch_step=3, epoch_batches=12)), 200)])
    for part in ("epoch 2", "25 %", "batch  3/12"):
        assert part in status


def test_a_loader_without_a_length_has_no_progress() -> None:
    status = text([draw_status(view(*started(replace(LOADER, batches=None)), STEPS), 200)])
    assert "batch 500" in status
    assert "%" not in status


def test_the_run_panel_has_command_loader_and_optimizer() -> None:
    shown = text(draw_run(view(*started(), STEPS).now, 120, 12))
    for part in (
        "python my_train.py",
        "num_workers=0, batch_size=16",
        "my_train.py:41",
        "AdamW, 2 307 parameters",
        "cpu, float32, torch 2.14.1",
    ):
        assert part in shown


@pytest.mark.parametrize(
    ("waiting", "marked"),
    [
        (NO_WORKERS, "no workers"),
        (replace(NO_WORKERS, kind="processes", read_share=0.9, bytes_read=160 * 100_000), "disk"),
        # It sleeps or waits for something else than a file.
        (replace(NO_WORKERS, kind="processes", read_share=0.9, bytes_read=0), "workers"),
    ],
)
def test_the_bottleneck_of_a_script(waiting: AnyEvent, marked: str) -> None:
    shown = text(draw_compact(view(*started(), WAITS, waiting), 100, 12))
    assert f"bottleneck: {marked}" in shown


def test_logged_scalars_have_values_and_a_curve() -> None:
    logged = [
        replace(scalars(**{"train/loss": 2.0, "val/accuracy": 0.5 + n / 100, "lr": 0.1}), mono=12.0 + n)
        for n in range(9)
    ]
    now = view(*started(), STEPS, *logged)
    panel = MetricPanel(id="metric")
    assert panel.title(now) == "Logged val/accuracy"
    assert panel.note(now) == "0.5800"
    drawn = text(panel.draw(now, 60, 12))
    for part in ("train/loss    2.000", "val/accuracy  0.5800", "lr            0.1000"):
        assert part in drawn
    assert "┤" in drawn
    assert "and 2 more" in text(panel.draw(now, 60, 8))
    # The loss that the script logs comes before the one that its backward pass began with.
    assert LossPanel(id="loss").note(now) == "logged train/loss 2.000"
    assert LossPanel(id="loss").note(view(*started(), STEPS)) == "train 0.5000"


def test_nothing_logged_is_said() -> None:
    assert "none so far (TensorBoard" in text(MetricPanel(id="metric").draw(view(*started(), STEPS), 80, 8))


def test_the_question_before_a_stop_names_the_signals() -> None:
    said = [label for _, label in choices(stopping=True, script=True)]
    assert said[:2] == ["Stop: send it SIGINT, as Ctrl-C does", "Stop now: SIGTERM, and SIGKILL after 10 s"]
    assert [label for _, label in choices(stopping=False, script=False)][1] == "Stop after a checkpoint"


def test_the_summary_counts_samples_and_claims_nothing_of_validations() -> None:
    rows = dict(summary_rows(summary(view(*started(), STEPS).now), "/runs/r"))
    assert rows["throughput"].startswith("160 samples/s mean")
    assert not {"best", "checkpoints"} & rows.keys()


@pytest.mark.parametrize(
    ("unit", "shown"), [("images", "img/s"), ("samples", "samples/s"), ("tokens", "tokens/s"), ("steps", "steps/s")]
)
def test_every_text_names_what_the_record_counts(unit: Unit, shown: str) -> None:
    now = view(*started(), replace(STEPS, unit=unit))
    assert f"160 {shown}" in text([draw_status(now, 200)])
    assert f"160 {shown}" in text(draw_compact(now, 100, 12))
    assert ThroughputPanel(id="throughput").note(now) == f"mean 160 {shown}"
    rows = dict(summary_rows(summary(now.now), "/runs/r"))
    assert rows["throughput"] == f"160 {shown} mean, 160 {unit}"
    assert f"\n{unit}_per_second," in curves_csv(now.now)
    lines = PlainLines()
    printed = [line for event in (*started(), replace(STEPS, unit=unit)) for line in lines.take(event)]
    assert f"160 {shown}" in printed[-1]
    assert promise(Prediction(low=1.0, high=2.0, limiter="the device", unit=unit)) == (
        f"1.0–2.0 {shown}, then the device limits"
    )
    tuned = Tuned(verdict="kept", changes={"num_workers": 2}, before=1.0, after=2.0, unit=unit)
    assert verdict(tuned) == f"kept num_workers=2: 1.0 → 2.0 {shown} (+100 %)"


def test_a_summary_without_a_loader_says_that_the_shares_are_unknown() -> None:
    result = summary(view(*started(None), replace(NO_LOADER, unit="steps", images_per_second=10.0)).now)
    assert (result.data_wait_share, result.compute_share, result.other_share) == (None, None, None)
    rows = dict(summary_rows(result, "/runs/r"))
    assert rows["time went to"] == "unknown: the loop reads no DataLoader itself"
    assert rows["throughput"].startswith("10.0 steps/s mean")


def test_a_script_without_a_step_claims_nothing() -> None:
    now = view(started(None)[0], live=True)
    assert "running, no step seen yet" in text([draw_status(now, 200)])
    rows = dict(summary_rows(summary(now.now), "/runs/r"))
    assert rows["steps"] == "none seen"
    assert "throughput" not in rows
    assert "unknown" not in text(draw_pipeline(now.now, 150, 4))


def test_skipped_updates_and_validation_have_their_rows() -> None:
    shown = text(
        draw_run(
            view(*started(), replace(STEPS, skipped=3, validation_batches=50, validation_seconds=12.0)).now, 120, 20
        )
    )
    assert "3 updates: inf or NaN gradients" in shown
    assert "50 batches in 12 s, in no step" in shown
    assert "skipped" not in text(draw_run(view(*started(), STEPS).now, 120, 20))


def test_the_queue_of_a_script_is_none_without_workers_and_else_not_counted() -> None:
    def queue(loader: LoaderFound) -> str:
        return next(stage.figure for stage in stages(view(*started(loader), STEPS).now) if stage.name == "queue")

    assert queue(LOADER) == "none"
    assert queue(replace(LOADER, num_workers=4)) == "unknown"


@pytest.mark.parametrize(
    ("device", "words"), [("cpu", "no driver: training on CPU"), ("cuda:0", "no driver: its metrics cannot be read")]
)
def test_the_gpu_panel_knows_the_device_of_a_script(device: str, words: str) -> None:
    first, loader, model, *_ = started()
    assert isinstance(model, ScriptModel)
    sample = HardwareSample(mono=12.0, interval=1.0, gpu_error="no driver")
    assert absent(view(first, loader, replace(model, device=device), sample).now) == words
    # Before its first update the device is not known.
    assert absent(view(first, sample).now) == "no driver"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("/home/me/venv/bin/python my_train.py --lr 0.1", "python my_train.py --lr 0.1"),
        ("'/home/a b/python' x.py", "'/home/a b/python' x.py"),
        ("yolo", "yolo"),
    ],
)
def test_the_run_panel_leaves_out_the_path_of_the_program(command: str, shown: str) -> None:
    assert short_command(command) == shown


def test_the_short_pipeline_leaves_out_words_before_it_is_cut() -> None:
    now = view(*started(), replace(STEPS, data_wait=0.3, compute=0.7, other=0.0), replace(NO_WORKERS, busy=1.0)).now

    def first(columns: int) -> str:
        return text(draw_pipeline(now, columns, 2)).splitlines()[0]

    whole = first(99)
    assert whole.endswith(" ▶ CPU compute 70 % of step")
    assert first(len(whole)) == whole
    assert first(len(whole) - 1) == whole.removesuffix(" of step")
