"""Exports: curves as CSV and pictures, the dashboard as SVG; by command and by key."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from helpers.tui import scripted
from helpers.tui.piloting import until
from helpers.tui.scriptedsource import ScriptedSource
from helpers.tui.svg_text import text
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gputrain.engine.events import AnyEvent
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.event_log import RecordWriter
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.actions.export_curves import COLUMNS, curves_csv, picture, write_curves
from gputrain.tui.app import GpuTrainApp
from gputrain.tui.cli import main
from gputrain.tui.screens.dashboard.dashboard import DashboardScreen
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.state.run_store import RunStore


@pytest.fixture
def run() -> RunDir:
    """A finished run."""
    made = run_directory.create("exported")
    writer = RecordWriter(made.events)
    for event in scripted.whole_run(25):
        writer.append(event)
    writer.close()
    return made


def snapshot(events: list[AnyEvent]) -> Snapshot:
    store = RunStore()
    store.apply_all(events)
    return store.snapshot()


def test_the_csv_has_each_point_of_each_curve() -> None:
    now = snapshot(scripted.whole_run(60))
    rows = list(csv.DictReader(curves_csv(now).splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert {row["curve"] for row in rows} == set(now.curves)
    for key, curve in now.curves.items():
        of_it = [row for row in rows if row["curve"] == key]
        assert [float(row["mean"]) for row in of_it] == [bucket.mean for bucket in curve.whole]
        assert [int(row["points"]) for row in of_it] == [bucket.points for bucket in curve.whole]
    accuracy = [row for row in rows if row["curve"] == "val_accuracy"]
    assert [float(row["mean"]) for row in accuracy] == [v.metrics["accuracy"] for v in now.validations]


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_pictures(ending: str, start: bytes) -> None:
    assert picture(snapshot(scripted.whole_run(25)), ending).startswith(start)


def test_the_picture_names_its_curves(tmp_path: Path) -> None:
    path = tmp_path / "curves.svg"
    write_curves(snapshot(scripted.whole_run(45)), path)
    drawn = path.read_text()
    ET.fromstring(drawn)
    for label in ("throughput [img/s]", "loss", "accuracy [%]", "use [%]", "data wait [%]", "minutes"):
        assert f"<!-- {label} -->" in drawn, label
    assert path.stat().st_mode & 0o777 == 0o644


def heights(line: Line2D) -> list[float]:
    return [float(y) for y in np.asarray(line.get_ydata(), float)]


def test_the_picture_is_drawn_in_its_units_with_validations_and_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    now = snapshot(scripted.whole_run(65))
    picture(now, "png")
    drawn = {axes.get_ylabel(): axes for axes in figures[0].axes}

    def values(title: str, line: int = 0) -> list[float]:
        return [y for y in heights(drawn[title].lines[line]) if y == y]

    assert values("data wait [%]") == pytest.approx([27] * len(values("data wait [%]")))
    assert 10 < max(values("queue [%]")) <= 100
    accuracies = [validated.metrics["accuracy"] * 100 for validated in now.validations]
    assert values("accuracy [%]") == pytest.approx(accuracies)
    assert drawn["accuracy [%]"].lines[0].get_marker() == "o"
    assert values("accuracy [%]", 1) == pytest.approx([max(accuracies)])
    assert drawn["accuracy [%]"].lines[1].get_marker() == "*"


def test_a_gap_is_a_gap_in_the_picture_too(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    script = scripted.Script()
    events = [script.at(event) for event in scripted.start()]
    events += [script.at(event, later) for event, later in scripted.training(20)]
    script.mono += 180
    events += [script.at(event, later) for event, later in scripted.training(20, first=20)]
    picture(snapshot(events), "png")
    rates = next(axes for axes in figures[0].axes if axes.get_ylabel() == "throughput [img/s]")
    # One where nothing was measured, one at the end.
    assert sum(y != y for y in heights(rates.lines[0])) == 2


def test_the_command_writes_what_the_ending_says(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("curves.csv", "curves.png"):
        assert main.main(["export", run.id, str(tmp_path / name)]) == 0
        assert capsys.readouterr().out.strip() == str(tmp_path / name)
    assert (tmp_path / "curves.csv").read_text().startswith("curve,from_s")
    view = tmp_path / "view.svg"
    assert main.main(["export", "last", str(view), "--view", "120x35"]) == 0
    drawn = text(view.read_text())
    for part in ("Throughput", "bottleneck: workers", "■ finished"):
        assert part in drawn, part


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["last", "curves.txt"], "the suffix must be one of .csv, .png, .svg, .pdf"),
        (["last", "/nowhere/curves.csv"], "/nowhere/curves.csv: cannot be written: No such file or directory"),
        (["last", "view.png", "--view"], "--view needs an .svg file"),
        (["last", "/nowhere/view.svg", "--view", "80x24"], "cannot be written"),
        (["last", "view.svg", "--view", "8x2"], "columns x rows from 60x15"),
        (["nothing", "curves.csv"], "nothing"),
    ],
)
@pytest.mark.usefixtures("run")
def test_bad_input(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main.main(["export", *arguments])
    except SystemExit as left:
        code = int(left.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err


def test_without_matplotlib_or_figures_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gputrain.engine.common.errors import BadInput

    with pytest.raises(BadInput, match="no values yet"):
        write_curves(Snapshot(), tmp_path / "curves.csv")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(BadInput, match=r"pip install 'gputrain-tui\[plot\]'"):
        write_curves(snapshot(scripted.whole_run(3)), tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []


async def test_keys_write_into_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = ScriptedSource()
    source.feed_training(25)
    app = GpuTrainApp(source)
    async with app.run_test(size=(120, 35)) as pilot:
        screen = app.screen_stack[0]
        assert isinstance(screen, DashboardScreen)
        await until(pilot, lambda: screen.view.caught_up)
        await pilot.press("e", "E")
        await until(pilot, lambda: len(list(tmp_path.glob("*-resnet50-imagefolder-*"))) == 3)
        assert "Throughput" in next(tmp_path.glob("*-view-*.svg")).read_text()
        assert next(tmp_path.glob("*-curves-*.csv")).read_text().startswith("curve,")
        await until(pilot, lambda: any("written: " in note.message for note in app._notifications))
        monkeypatch.chdir("/proc")
        await pilot.press("e")
        await until(pilot, lambda: any("not exported: " in note.message for note in app._notifications))
