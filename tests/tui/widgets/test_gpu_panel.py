"""The GPU panel, drawn: blocks, lines, what is missing, and who else is there."""

from __future__ import annotations

import pytest
from helpers.tui import scripted
from helpers.tui.drawing import roles, text, view
from msgspec.structs import replace

from gputrain.engine.common.units import GIB
from gputrain.engine.events import GpuProcess, GpuSample, HardwareSample, MigSample
from gputrain.tui.metrics.gpu_state import alarms, temperature_level
from gputrain.tui.render import styled_lines
from gputrain.tui.widgets.panels.curves import gpu_trends
from gputrain.tui.widgets.panels.gpus import draw_gpus, gpu_line


def test_one_gpu_is_a_block_with_all_its_metrics_by_panel() -> None:
    drawn = text(draw_gpus(view(*scripted.start(), scripted.hardware(0)), 96, 6))
    for figure in (
        "NVIDIA GeForce RTX 3090",
        "71 %",
        "17/24 GiB",
        "282/350 W",
        "67 °C",
        "SM 1 695/2 100 MHz",
        "power cap",
    ):
        assert figure in drawn


@pytest.mark.parametrize("columns", [36, 56, 76, 116])
def test_eight_gpus_fold_to_a_line_each(columns: int) -> None:
    drawn = draw_gpus(view(*scripted.start(8), scripted.hardware(1, gpus=8)), columns, 8)
    assert len(drawn) == 8
    for index, line in enumerate(drawn):
        assert text([line]).startswith(f"{index} ")
        assert " %" in text([line])
        assert styled_lines.width(line) == columns


def test_gpus_that_have_no_row_are_counted() -> None:
    assert "and 4 more" in text(draw_gpus(view(scripted.hardware(1, gpus=8)), 80, 5))


def test_without_a_driver_the_run_is_on_the_cpu_and_that_is_said() -> None:
    assert text(draw_gpus(view(*scripted.start(0), scripted.hardware(1, gpus=0)), 60, 9)) == (
        "no NVIDIA driver: training on CPU"
    )


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("lost: it has fallen off the bus", "LOST: it has fallen off the bus"),
        ("no answer for 3 s", "NO DATA: no answer for 3 s"),
    ],
)
@pytest.mark.parametrize("rows", [2, 12])
def test_a_gpu_that_cannot_be_read_is_named_with_the_cause(error: str, shown: str, rows: int) -> None:
    sample = HardwareSample(interval=1, gpus=(scripted.gpu(0, 1), GpuSample(index=1, name="RTX 3090", error=error)))
    drawn = draw_gpus(view(sample), 96, rows)
    assert shown in text(drawn)
    assert "RTX 3090" in text(drawn)
    assert roles(drawn, shown) == {"bad"}


def test_a_figure_that_a_gpu_does_not_tell_is_missing_and_not_zero() -> None:
    line = gpu_line(GpuSample(index=0, name="odd"), 80)
    assert "0 %" not in text([line])
    assert "–" in text([line])
    assert "·····" in text([line])


def test_mig_has_no_utilization_and_says_so() -> None:
    instances = (MigSample(name="A100 MIG 1g.5gb", memory_used=GIB, memory_total=5 * GIB), MigSample(name="2g.10gb"))
    gpu = GpuSample(index=0, name="A100", mig=True, instances=instances)
    drawn = text(draw_gpus(view(HardwareSample(interval=1, gpus=(gpu,))), 90, 4))
    assert "MIG 2 instances, utilization unknown  1g.5gb 1/5 GiB  2g.10gb –" in drawn
    assert "MIG" in text([gpu_line(gpu, 80)])


def test_instances_have_rows_where_there_is_room() -> None:
    process = GpuProcess(pid=2, user="eve")
    busy = MigSample(name="1g.10gb", memory_used=GIB, memory_total=10 * GIB, sm_activity=0.61, processes=(process,))
    gpu = GpuSample(index=0, mig=True, instances=(busy, MigSample(name="2g.20gb", cuda_index=0)))
    drawn = text(draw_gpus(view(HardwareSample(interval=1, gpus=(gpu,))), 100, 7))
    assert "utilization unknown" not in drawn
    assert "also used by eve" in drawn
    row = next(row for row in drawn.splitlines() if row.startswith("  .0 1g.10gb"))
    assert "1/10 GiB" in row
    assert "SM 61 %" in row
    assert "CUDA 0" in next(row for row in drawn.splitlines() if row.startswith("  .1 2g.20gb"))


TROUBLED = GpuSample(
    index=0,
    name="NVIDIA H100",
    utilization=98.0,
    temperature=88.0,
    temperature_slowdown=87.0,
    memory_clock=2619,
    memory_temperature=79.0,
    ecc_corrected=7,
    ecc_uncorrected=3,
    pcie_generation=1,
    pcie_width=4,
    pcie_generation_max=5,
    pcie_width_max=16,
    nvlink_rx=20e9,
    nvlink_tx=21e9,
    sm_activity=0.61,
    sm_occupancy=0.4,
    tensor_activity=0.23,
    dram_activity=0.44,
    encoder=1.0,
    decoder=2.0,
)


def test_what_is_wrong_is_said_in_words_before_all_else() -> None:
    sample = HardwareSample(interval=1, gpus=(replace(TROUBLED, throttle=("power cap",)),))
    first = draw_gpus(view(sample), 120, 4)
    for wrong, role in (("HOT", "bad"), ("3 uncorrected ECC errors", "bad"), ("PCIe ×4 of ×16", "warn")):
        assert roles([first[0]], wrong) == {role}
    folded = gpu_line(TROUBLED, 80)
    assert roles([folded], "HOT ECC 3") == {"bad"}


def test_everything_sampled_is_shown_where_there_is_room() -> None:
    drawn = text(draw_gpus(view(HardwareSample(interval=1, gpus=(TROUBLED,))), 120, 8))
    for figure in (
        "SM 61 %  tensor 23 %  DRAM 44 %  occupancy 40 %",
        "memory 2 619 MHz",
        "memory at 79 °C",
        "slows at 87 °C",
        "link PCIe 1 ×4 of 5 ×16",
        "NVLink ↓ 20.0 GB/s ↑ 21.0 GB/s",
        "ECC 3 uncorrected, 7 corrected",
        "encoder 1 %  decoder 2 %",
    ):
        assert figure in drawn


def test_an_idle_gpu_s_slow_link_is_rest_and_no_alarm() -> None:
    resting = replace(TROUBLED, utilization=2.0, pcie_width=16, temperature=40.0, ecc_uncorrected=0)
    assert alarms(resting) == []
    assert [alarm.short for alarm in alarms(replace(resting, utilization=90.0))] == ["PCIe 1"]
    assert alarms(scripted.gpu(0, 1)) == []


@pytest.mark.parametrize(
    ("temperature", "slows", "level"),
    [
        (88, 95, "warn"),
        (84, 95, "plain"),
        (95, 95, "bad"),
        (88, 87, "bad"),
        (80, 87, "warn"),
        (84, None, "warn"),
        (91, None, "bad"),
        (None, 95, "plain"),
    ],
)
def test_heat_is_judged_by_the_card_s_own_threshold(temperature: float | None, slows: float | None, level: str) -> None:
    gpu = GpuSample(index=0, temperature=temperature, temperature_slowdown=slows)
    assert temperature_level(gpu) == level


@pytest.mark.parametrize(
    ("reason", "role"),
    [("power cap", "dim"), ("software thermal", "warn"), ("hardware thermal", "bad"), ("power brake", "bad")],
)
def test_a_lowered_clock_is_as_bad_as_its_reason(reason: str, role: str) -> None:
    gpu = replace(scripted.gpu(0, 1), throttle=(reason,))
    drawn = draw_gpus(view(HardwareSample(interval=1, gpus=(gpu,))), 90, 6)
    assert roles(drawn, reason) == {role}


def test_somebody_else_on_the_gpu_is_named() -> None:
    mine, foreign = GpuProcess(pid=1, ours=True), GpuProcess(pid=2, user="eve", memory=1)
    gpu = replace(scripted.gpu(0, 1), processes=(mine, foreign))
    assert "also used by eve" in text(draw_gpus(view(HardwareSample(interval=1, gpus=(gpu,))), 90, 6))
    assert "also eve" in text([gpu_line(gpu, 80)])
    assert "SHARED" in text([gpu_line(gpu, 38)])


@pytest.mark.parametrize("columns", [38, 40, 48, 72, 109, 110, 149, 150, 196])
def test_a_gpu_s_line_is_as_wide_as_the_panel_and_tells_more_where_there_is_room(columns: int) -> None:
    sample = scripted.gpu(0, 1)
    for gpu in (sample, replace(sample, throttle=("hardware thermal",)), GpuSample(index=0, name="bare")):
        assert styled_lines.width(gpu_line(gpu, columns)) <= columns
    shown = text([gpu_line(sample, columns)])
    assert ("1 695 MHz" in shown) == (columns >= 110)
    assert ("PCIe" in shown) == ("fan 45 %" in shown) == ("GeForce RTX 3090" in shown) == (columns >= 150)


def test_one_gpu_that_stays_behind_is_named_and_seen_in_the_range() -> None:
    def sample(number: int) -> HardwareSample:
        made = scripted.hardware(number, 8)
        gpus = tuple(replace(gpu, utilization=12 if gpu.index == 5 else 90) for gpu in made.gpus)
        return replace(made, gpus=gpus)

    shown = view(*(sample(number) for number in range(60)))
    assert {f"gpu{index}" for index in range(8)} <= set(shown.now.curves)
    assert {point.mean for point in shown.now.curves["gpu5"].recent} == {12}
    newest = shown.now.curves["gpu"].recent[-1]
    assert (newest.low, newest.mean, newest.high) == (12, (7 * 90 + 12) / 8, 90)
    drawn = text(gpu_trends(shown, 60, 12))
    assert "utilization of 8 GPUs, GPU 5 behind: 12 %" in drawn
    assert "temperature" not in drawn
    # The range reaches down to it.
    lowest = drawn.splitlines()[9]
    assert any(ord(sign) > 0x2800 for sign in lowest)
    wide = text(gpu_trends(shown, 140, 12)).splitlines()
    assert all(part in wide[0] for part in ("utilization", "VRAM of 8 GPUs", "temperature of 8 GPUs"))
    assert max(map(len, wide)) <= 140
