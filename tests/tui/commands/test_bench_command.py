"""``gputrain-tui bench``: table, JSON, Markdown and exit code, from given speeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.tui.bench_speeds import speed

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.jobs.bench_job import Speed, merge_speeds
from gputrain.profiles.schema import ReferenceLadder
from gputrain.tui.actions import run_ablation
from gputrain.tui.cli import main
from gputrain.tui.render.bench_table import Bench, Row, cells, header, remarks


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """The configurations that were to be measured, each of which is 50 img/s faster than the one before."""
    asked: list[RunConfig] = []

    def measure(config: RunConfig, _tell: object, _steps: int, started: object) -> Speed:
        asked.append(config)
        if config.data.cache == "ram":
            raise RuntimeError("there is no room for the cache")
        return speed(50.0 * len(asked))

    monkeypatch.setattr(run_ablation, "measure_speed", measure)
    return asked


def test_standard_and_optimized_are_compared(capsys: pytest.CaptureFixture[str], measured: list[RunConfig]) -> None:
    assert main.main(["bench", "--rounds", "1", "--steps", "3", "num_workers=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("demo on ")
    assert lines[0].endswith("batches of 64 images of 80×80, 3 steps each")
    assert lines[1].split() == [
        *("img/s", "±", "GPU", "waits", "speed-up", "gain", "peak", "memory", "a10g-23gb", "rtx-3090-24gb")
    ]
    first = ["standard", "50.0", "2", "%", "–", "25", "%", "1.00", "×", "1.0", "GiB", "1.00", "×", "█" * 12]
    assert lines[2].split() == first
    assert lines[3].split() == ["the", "plan", "100", "2", "%", "–", "25", "%", "2.00", "×", "1.0", "GiB", "█" * 24]
    assert lines[4].startswith("the plan: 2.00 × the default here, 3.8 × on a10g-23gb (the A10G guide, ")
    assert lines[4].endswith("): 0.53 of it")
    assert lines[5].endswith("2.7 × on rtx-3090-24gb (the CPU and GPU guide, ResNet-50): 0.74 of it")
    standard, optimized = measured
    assert (standard.speed.precision, standard.data.num_workers, standard.speed.channels_last) == ("fp32", 0, False)
    assert (optimized.data.num_workers, optimized.speed.channels_last) == (1, True)


def test_the_ablation_as_json_and_markdown(
    capsys: pytest.CaptureFixture[str], measured: list[RunConfig], tmp_path: Path
) -> None:
    target = tmp_path / "bench.md"
    # The stage that fails is told, and does not keep the others from being measured.
    assert main.main(["bench", "--ladder", "--rounds", "1", "--json", "--markdown", str(target), "num_workers=2"]) == 1
    output = json.loads(capsys.readouterr().out)
    names = [row["name"] for row in output["rows"]]
    assert names == [
        "standard",
        "+ workers",
        "+ mixed precision",
        "+ channels_last",
        "+ TF32",
        "+ compile",
        "+ cache",
        "all",
        "the plan",
    ]
    by_name = dict(zip(names, output["rows"], strict=True))
    assert by_name["+ workers"]["settings"] == {"num_workers": "2"}
    assert by_name["+ TF32"]["error"] == "skipped: needs a GPU"
    assert by_name["+ cache"]["error"] == "there is no room for the cache"
    assert len(measured) == 7
    lines = target.read_text().splitlines()
    assert lines[2].count("|") == lines[3].count("|") == lines[4].count("|") == 12
    assert lines[4].startswith("| standard | 50.0 | 2 % | – | 25 % | 1.00 × |  | 1.0 GiB |  | 1.00 × |")
    assert lines[5].startswith("| + workers | 100 | 2 % | – | 25 % | 2.00 × | +100 % | 1.0 GiB | +50 % | 1.40 × |")
    assert "skipped: needs a GPU" in target.read_text()


def test_what_cannot_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["bench", "device=cuda"]) == 2
    assert "device: cuda needs a GPU" in capsys.readouterr().err


def test_rounds_go_up_and_down_and_what_fails_is_not_tried_again(
    capsys: pytest.CaptureFixture[str], measured: list[RunConfig]
) -> None:
    arguments = ["bench", "--ladder", "--rounds", "2", "--json", "num_workers=2"]
    assert main.main(arguments) == 1
    # Seven stages apply; the sixth and the seventh, which have a cache, fail and are left alone on the way down.
    assert len(measured) == 7 + 5
    assert measured[7] == measured[6]
    assert measured[11] == measured[0]
    output = {row["name"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert output["standard"]["rounds"] == [50, 600]
    assert output["standard"]["speed"]["images_per_second"] == pytest.approx(2 / (1 / 50 + 1 / 600))
    assert output["standard"]["speed"]["spread"] == 275
    assert output["all"]["rounds"] == []


def test_several_measurements_are_one() -> None:
    one = merge_speeds([speed(100.0, others=0.5), speed(110.0, others=None)])
    assert one.images_per_second == pytest.approx(104.76, abs=0.01)
    assert one.spread == 5
    assert one.others == 0.5
    assert merge_speeds([speed(100.0)]) == speed(100.0)


def test_an_unwritable_file_is_reported_before_the_measurement(
    capsys: pytest.CaptureFixture[str], measured: list[RunConfig], tmp_path: Path
) -> None:
    for target in (tmp_path, tmp_path / "none" / "bench.md"):
        assert main.main(["bench", "--markdown", str(target)]) == 2
        assert f"{target}: cannot be written: " in capsys.readouterr().err
    assert not measured


def test_published_gains_and_load_by_other_programs_are_shown() -> None:
    seed = ReferenceLadder(source="somebody", gains={"workers": 1.5}, speed_up=4.0)
    rows = (
        Row(name="standard", key="standard", settings={}, speed=speed(50.0, others=0.1)),
        Row(name="+ TF32", key="TF32", settings={}, speed=None, error="left out"),
        Row(name="+ workers", key="workers", settings={}, speed=speed(60.0, others=1.5)),
        Row(name="all", key="all", settings={}, speed=speed(100.0)),
    )
    bench = Bench(
        recipe="r",
        machine="m",
        device="d",
        usable_cores=2.0,
        batch_size=1,
        image_size=8,
        steps=1,
        rounds=1,
        rows=rows,
        references={"card": seed},
    )
    at = header(bench).index("card")
    assert [cells(row, bench, True)[at] for row in rows] == ["", "", "+50 %", "4.00 ×"]
    assert [cells(row, bench, True)[at - 2] for row in rows] == ["", "", "+20 %", ""]
    assert list(remarks(bench)) == [
        "all: 2.00 × the default here, 4 × on card (somebody): 0.50 of it",
        "other programs used up to 1.5 of 2 cores during the measurement: measure again without them",
    ]
