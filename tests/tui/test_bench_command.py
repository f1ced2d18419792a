"""``gputrain-tui bench``: its table, JSON, Markdown and exit code, from speeds of the test's making."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gputrain.engine.benching import Speed
from gputrain.engine.config import RunConfig
from gputrain.tui import cli
from gputrain.tui.commands import bench as command


def speed(rate: float) -> Speed:
    return Speed(
        images_per_second=rate,
        spread=1.0,
        steps=3,
        wait_share=0.25,
        gpu_percent=None,
        peak_bytes=1 << 30,
        precision="fp32",
    )


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """The configurations that were to be measured, each of which is 50 img/s faster than the one before."""
    asked: list[RunConfig] = []

    def measure(config: RunConfig, _tell: object, _steps: int) -> Speed:
        asked.append(config)
        if config.data.cache == "ram":
            raise RuntimeError("there is no room for the cache")
        return speed(50.0 * len(asked))

    monkeypatch.setattr(command, "measure_speed", measure)
    return asked


def test_standard_and_optimized_are_compared(capsys: pytest.CaptureFixture[str], measured: list[RunConfig]) -> None:
    assert cli.main(["bench", "--steps", "3", "num_workers=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("demo on ")
    assert lines[0].endswith("batches of 64 images of 80×80, 3 steps each")
    assert lines[2].split() == ["standard", "50.0", "–", "25", "%", "1.00", "×", "1.0", "GiB", "█" * 12]
    assert lines[3].split() == ["the", "plan", "100", "–", "25", "%", "2.00", "×", "1.0", "GiB", "█" * 24]
    standard, optimized = measured
    assert (standard.speed.precision, standard.data.num_workers, standard.speed.channels_last) == ("fp32", 0, False)
    assert (optimized.data.num_workers, optimized.speed.channels_last) == (1, True)


def test_the_ladder_as_json_and_markdown(
    capsys: pytest.CaptureFixture[str], measured: list[RunConfig], tmp_path: Path
) -> None:
    target = tmp_path / "bench.md"
    # The rung that fails is told, and does not keep the others from being measured.
    assert cli.main(["bench", "--ladder", "--json", "--markdown", str(target), "num_workers=2"]) == 1
    told = json.loads(capsys.readouterr().out)
    names = [row["name"] for row in told["rows"]]
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
    by_name = dict(zip(names, told["rows"], strict=True))
    assert by_name["+ workers"]["settings"] == {"num_workers": "2"}
    assert by_name["+ TF32"]["error"] == "left out: needs a GPU"
    assert by_name["+ cache"]["error"] == "there is no room for the cache"
    assert len(measured) == 7
    lines = target.read_text().splitlines()
    assert lines[2].count("|") == lines[3].count("|") == 8
    assert lines[4].startswith("| standard | 50.0 | – | 25 % | 1.00 × | 1.0 GiB |")
    assert "left out: needs a GPU" in target.read_text()


def test_what_cannot_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "device=cuda"]) == 2
    assert "device: cuda needs a GPU" in capsys.readouterr().err
