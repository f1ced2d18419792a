"""The text of the panels, drawn without a screen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from helpers.tui import scripted
from helpers.tui.drawing import roles, text, view
from msgspec.structs import replace

from gputrain.engine.events import (
    AnyEvent,
    DeviceSample,
    DiskSample,
    GpuProcess,
    GpuSample,
    HardwareSample,
    Hint,
    HintsChanged,
    LoaderStats,
    LogLine,
    Outcome,
    Phase,
    PhaseChanged,
    Prediction,
    RunEnded,
    Steps,
)
from gputrain.tui.layout.key_bindings import KEYS, MONITOR_KEYS
from gputrain.tui.render import styled_lines
from gputrain.tui.render.styled_lines import Line
from gputrain.tui.widgets.key_bar import draw_keys
from gputrain.tui.widgets.panel import View
from gputrain.tui.widgets.panels.compact import draw_compact
from gputrain.tui.widgets.panels.disks import draw_disk
from gputrain.tui.widgets.panels.gpus import draw_gpus
from gputrain.tui.widgets.panels.hints import draw_hints
from gputrain.tui.widgets.panels.log import entry_line, matching
from gputrain.tui.widgets.panels.machine_panels import cores_strip, draw_cpu, draw_ram
from gputrain.tui.widgets.panels.pipeline import bottleneck, draw_pipeline
from gputrain.tui.widgets.panels.run_panel import draw_run
from gputrain.tui.widgets.panels.status_line import draw_status


def window(wait: float, copy: float | None, compute: float, other: float) -> Steps:
    return replace(scripted.steps(0, seconds=1.0), data_wait=wait, copy=copy, compute=compute, other=other)


def slow_disk() -> LoaderStats:
    return replace(scripted.loader(), read_share=0.95)


def slow_network() -> LoaderStats:
    return replace(scripted.loader(), read_share=0.95, download_share=0.9, downloaded=40_000_000)


@pytest.mark.parametrize(
    ("events", "stage"),
    [
        ((), None),
        ((window(0.3, 0.0, 0.7, 0.0), scripted.loader()), "workers"),
        ((window(0.3, 0.0, 0.7, 0.0),), "workers"),
        ((window(0.3, 0.0, 0.7, 0.0), slow_disk()), "disk"),
        ((window(0.3, 0.0, 0.7, 0.0), slow_network()), "network"),
        ((window(0.02, 0.2, 0.78, 0.0),), "copy"),
        ((window(0.02, 0.0, 0.7, 0.28),), "other"),
        ((window(0.15, None, 0.5, 0.35),), "other"),
        ((window(0.05, 0.05, 0.88, 0.02),), "compute"),
    ],
)
def test_the_bottleneck_is_the_largest_wait(events: tuple[AnyEvent, ...], stage: str | None) -> None:
    found = bottleneck(view(*events).now)
    assert (found[0] if found else None) == stage


@pytest.mark.parametrize(("columns", "rows"), [(196, 4), (116, 4), (76, 4), (76, 2), (56, 2), (56, 1)])
def test_the_pipeline_names_every_stage(columns: int, rows: int) -> None:
    shown = view(*scripted.start(), scripted.steps(3), scripted.loader(), scripted.hardware(3))
    drawn = draw_pipeline(shown.now, columns, rows)
    assert len(drawn) <= rows
    for stage in ("disk", "8 workers", "queue", "copy", "GPU"):
        assert stage in text(drawn) or columns < 76
    assert all(styled_lines.width(line) <= columns for line in drawn) or columns < 76


def test_remote_shards_show_the_network_until_all_have_come() -> None:
    coming = text(draw_pipeline(view(*scripted.start(), scripted.steps(3), slow_network()).now, 116, 4))
    assert "network" in coming
    assert "40 MB/s" in coming
    assert "disk" not in coming
    cached = replace(scripted.loader(), download_share=0.0, downloaded=0)
    assert "network" not in text(draw_pipeline(view(*scripted.start(), scripted.steps(3), cached).now, 116, 4))


def test_on_the_cpu_nothing_is_copied() -> None:
    shown = view(*scripted.start(gpus=0), scripted.steps(3, gpu=False), scripted.loader(), scripted.hardware(3, gpus=0))
    drawn = text(draw_pipeline(shown.now, 116, 4))
    assert "copy" not in drawn
    assert "CPU compute" in drawn


def test_a_machine_without_sensors_shows_no_zero() -> None:
    bare = view(HardwareSample(interval=1.0))
    for draw in (draw_cpu, draw_ram, draw_disk):
        drawn = text(draw(bare, 60, 8))
        assert "0 %" not in drawn
        assert "0 MiB" not in drawn


def test_the_disk_panel_shows_latencies_reads_of_the_run_and_each_disk() -> None:
    disk = DiskSample(
        read_rate=3e6,
        device="sda",
        device_queue=0.5,
        device_read_latency=0.00042,
        device_write_latency=0.0037,
        devices=(
            DeviceSample(name="sda", busy=0.5, read_rate=2e6, write_rate=0, read_iops=12.0, write_iops=3.0),
            DeviceSample(name="sdb", busy=0.1, read_rate=1e6, write_rate=0),
        ),
    )
    sample = HardwareSample(interval=1.0, disk=disk, run_read_rate=210e6, run_cache_hit=0.93)
    drawn = text(draw_disk(view(sample), 60, 20))
    for figure in ("queue 0.50  reads take 0.42 ms  writes 3.7 ms", "this run reads 210 MB/s  93 % from page cache"):
        assert figure in drawn
    assert "15 IO/s" in next(row for row in drawn.splitlines() if row.startswith("sda"))
    assert "sdb" in drawn
    few = draw_disk(view(sample), 60, 6)
    assert len(few) <= 6
    assert "sdb" not in text(few)


def test_the_cpu_panel_shows_temperature_and_steal_time() -> None:
    drawn = draw_cpu(view(HardwareSample(interval=1.0, cpu_temperature=71.0, cpu_steal=0.31, load_1m=1.0)), 60, 8)
    assert "71 °C" in text(drawn)
    assert roles(drawn, "stolen 0.31 cores") == {"warn"}
    assert "stolen" not in text(draw_cpu(view(HardwareSample(interval=1.0, cpu_steal=0.01)), 60, 8))


@pytest.mark.parametrize("count", [1, 16, 64, 224])
def test_the_cores_fit_whatever_their_number(count: int) -> None:
    assert 1 <= styled_lines.width(cores_strip((50.0,) * count, 40)) <= 40


def test_one_busy_core_of_many_is_not_hidden() -> None:
    drawn = text([cores_strip((0.0,) * 100 + (100.0,) + (0.0,) * 99, 40)])
    assert drawn.count("█") == 1


def test_a_hint_is_symptom_evidence_and_action() -> None:
    drawn = text(draw_hints(view(HintsChanged(hints=(scripted.HINT,))), 100, 10))
    assert "Too few data workers" in drawn
    assert "the workers were busy" in drawn
    assert "num_workers=11" in drawn


@pytest.mark.parametrize("rows", range(3, 12))
def test_the_prediction_comes_before_the_evidence(rows: int) -> None:
    long = "a long sentence that takes more than one row " * 4
    hint = replace(scripted.HINT, evidence=long, action=long, prediction=Prediction(1900.0, 2160.0, "the device"))
    drawn = text(draw_hints(view(HintsChanged(hints=(hint,))), 60, rows))
    assert "expected: 1 900–2 160 img/s, then the device limits" in drawn
    void = replace(hint, prediction=Prediction(void="the cache is still being filled"))
    drawn = text(draw_hints(view(HintsChanged(hints=(void,))), 60, rows))
    assert ("no figure" in drawn) <= (rows > 6), "evidence is worth more than a missing figure"


@pytest.mark.parametrize("rows", range(2, 12))
def test_hints_never_take_more_rows_than_there_are_and_say_what_is_missing(rows: int) -> None:
    many = HintsChanged(hints=tuple(replace(scripted.HINT, id=str(number)) for number in range(6)))
    drawn = draw_hints(view(many), 60, rows)
    assert len(drawn) <= rows
    assert "Too few" in text(drawn)
    assert "→" in text(drawn)
    if rows > 3:
        assert "more" in text(drawn)


def test_the_hints_panel_before_the_first_step_while_measuring_and_without_hints() -> None:
    assert text(draw_hints(view(*scripted.start()), 60, 5)) == "hints appear after the first steps"
    assert text(draw_hints(view(*scripted.start(), scripted.steps(0)), 60, 5)).startswith("measuring: hints need")
    judged = (*scripted.start(), scripted.steps(0), HintsChanged(hints=()))
    assert text(draw_hints(view(*judged), 60, 5)) == "no bottleneck found"


def test_a_run_without_supervisor_says_what_is_left() -> None:
    gone = view(*scripted.start(), scripted.checkpoint(0), live=False)
    assert "supervisor of this run died" in text(draw_hints(gone, 60, 5))
    assert "newest checkpoint is from step 400" in text(draw_hints(gone, 60, 5)).replace("\n", " ")
    assert "supervisor of this run died" in text([draw_status(gone, 120)])


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Outcome.FINISHED, "finished"),
        (Outcome.STOPPED, "stopped"),
        (Outcome.FAILED, "failed"),
        (Outcome.KILLED, "killed"),
    ],
)
def test_the_status_names_the_end(outcome: Outcome, word: str) -> None:
    assert word in text([draw_status(view(*scripted.start(), RunEnded(outcome=outcome, reason="why")), 120)])


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.ENDED])
@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_the_status_names_every_phase(phase: Phase, columns: int) -> None:
    line = draw_status(view(scripted.start()[0], PhaseChanged(phase=phase)), columns)
    assert phase.value in text([line])
    assert styled_lines.width(line) == columns


def test_what_comes_before_the_first_step_has_progress_and_an_estimate() -> None:
    first = PhaseChanged(phase=Phase.DRAWING_DATA, done=0, total=3000, unit="images")
    line = draw_status(view(scripted.start()[0], first, replace(first, done=1020)), 120)
    for part in ("drawing the demo images", "34 %", "1 020/3 000 images", "ETA 1 s"):
        assert part in text([line])


def test_the_status_line_keeps_its_columns_while_values_change() -> None:
    shown = [
        text([draw_status(view(*scripted.start(), replace(scripted.steps(9), step=step, images_per_second=rate)), 160)])
        for step, rate in ((8, 84.2), (12_204, 1184.0), (104_000, 951.0))
    ]
    for part in ("img/s", "/20 000", "rtx-3090"):
        assert len({line.index(part) for line in shown}) == 1


def test_key_values_fit_their_columns() -> None:
    shown = view(*scripted.start(), scripted.steps(1), scripted.validated(0))
    for columns in (30, 80):
        assert all(styled_lines.width(line) <= columns for line in draw_run(shown.now, columns, 8))
    assert "accuracy 16.8 % in epoch 1" in text(draw_run(shown.now, 80, 12))


@pytest.mark.parametrize("gpus", [0, 1, 2, 8])
def test_the_smallest_window_has_all_that_matters(gpus: int) -> None:
    shown = view(
        *scripted.start(gpus), scripted.steps(1), scripted.hardware(1, gpus), HintsChanged(hints=(scripted.HINT,))
    )
    drawn = draw_compact(shown, 60, 13)
    assert len(drawn) <= 13
    for index in range(gpus):
        assert any(text([line]).startswith(f"{index} ") for line in drawn)
    for part in ("img/s", "CPU 8", "Too few data workers", "num_workers=11", "bottleneck: workers", "step 4"):
        assert part in text(drawn).replace("step      4", "step 4")


def test_the_log_shows_time_and_level() -> None:
    entry = view(LogLine(text="plain line")).now.journal[0]
    assert text([entry_line(entry)]).endswith("plain line")
    assert "error: " in text([entry_line(replace(entry, kind="error"))])


def test_a_search_is_of_any_case_and_only_what_holds_it_is_shown() -> None:
    shown = view(LogLine(text="CUDA out of memory"), LogLine(text="fine"), search="cuda")
    assert [entry.text for entry in matching(shown)] == ["CUDA out of memory"]


def test_all_keys_are_shown_at_the_smallest_width() -> None:
    for keys in (KEYS, MONITOR_KEYS):
        assert text([draw_keys(keys, 60)]).split()[-1] == "^p"
    assert "palette" in text([draw_keys(KEYS, 120)]) or "search" in text([draw_keys(KEYS, 160)])


HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold]name[/] \u202e\x00日本"
Draw = Callable[[View, int, int], list[Line]]


@pytest.mark.parametrize("draw", [draw_gpus, draw_hints, draw_compact, draw_disk])
def test_hostile_names_are_harmless(draw: Draw) -> None:
    hint = Hint(id="x", severity="critical", title=HOSTILE, evidence=HOSTILE, action=HOSTILE)
    gpu = GpuSample(index=0, name=HOSTILE, error="", throttle=(HOSTILE,), processes=(GpuProcess(pid=3, user=HOSTILE),))
    sample = replace(scripted.hardware(1), gpus=(gpu, replace(gpu, index=1, error=HOSTILE)))
    drawn = text(draw(view(*scripted.start(), sample, HintsChanged(hints=(hint,))), 100, 12))
    assert "\x1b" not in drawn
    assert "\u202e" not in drawn
    assert "\x00" not in drawn
