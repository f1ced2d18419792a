"""Logging to MLflow and Trackio: the command, and the databases read back by the packages themselves."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.logged_events import model_ready, steps

from gputrain.engine.events import AnyEvent, Notice, Outcome, RunEnded, RunStarted, Scalars, Validated
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.event_log import RecordWriter
from gputrain.engine.runs.run_directory import RunDir

pytestmark = [
    pytest.mark.frameworks,
    # What MLflow and the packages that it stands on tell each other of their releases.
    pytest.mark.filterwarnings("default"),
]
TIMEOUT = 240.0


EVENTS: tuple[AnyEvent, ...] = (
    RunStarted(run_id="r", settings={"batch_size": 4, "lr": 0.1, "model": "simple_cnn"}),
    model_ready(),
    steps(1, 2.5),
    steps(2, None),
    # Resumed, with another value: MLflow refuses to change a parameter.
    RunStarted(run_id="r", settings={"batch_size": 8, "lr": 0.1, "model": "simple_cnn", "epochs": 3}),
    steps(3, 1.5),
    Notice(level="info", text="a <b>word</b>"),
    Scalars(source="ultralytics", values={"metrics/mAP50(B)": 0.25, "/../Größe": 2.0}),
    Validated(epoch=0, step=3, metrics={"accuracy": 0.75}, metric="accuracy", best=True, images=8, seconds=1.0),
    RunEnded(outcome=Outcome.FINISHED, reason="all steps are done", step=3),
)


@pytest.fixture
def run(private_homes: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "TRACKIO_DIR", "TRACKIO_PROJECT", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    made = run_directory.create("logged")
    writer = RecordWriter(made.events)
    for event in EVENTS:
        writer.append(event)
    writer.close()
    return made


def logged(run: RunDir, name: str) -> dict[str, Any]:
    """What ``log --json`` says at its end."""
    command = [sys.executable, "-m", "gputrain.tui.cli", "log", run.id, "--to", name, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    # The packages print, too, but never between these lines.
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["events"] == len(EVENTS)
    return dict(lines[-1])


def test_a_run_is_read_back_by_mlflow(run: RunDir) -> None:
    mlflow = pytest.importorskip("mlflow")
    told = logged(run, "mlflow")
    uri = f"sqlite:///{run.directory / 'mlflow' / 'mlflow.db'}"
    assert told["see"] == f"mlflow ui --backend-store-uri {uri}"
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("gputrain")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == (run.id, "FINISHED")
    assert found.data.params == {"batch_size": "4", "lr": "0.1", "model": "simple_cnn", "epochs": "3"}
    losses = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(one.step, one.value) for one in losses] == [(1, 2.5), (3, 1.5)]
    assert [one.value for one in client.get_metric_history(found.info.run_id, "val/accuracy")] == [0.75]
    scripts = {name: value for name, value in found.data.metrics.items() if name.startswith("script/")}
    assert scripts == {"script/metrics/mAP50_B_": 0.25, "script/Gr__e": 2.0}
    (words,) = (run.directory / "mlflow").rglob("notices.md")
    assert words.read_text() == "step 3: info: a <b>word</b>\n"


def test_mlflow_without_its_server_is_one_line(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    command = [sys.executable, "-m", "gputrain.tui.cli", "log", run.id, "--to", "mlflow"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 1
    assert "mlflow: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_run_is_read_back_from_the_database_of_trackio(run: RunDir) -> None:
    pytest.importorskip("trackio")
    told = logged(run, "trackio")
    folder = run.directory / "trackio"
    assert told["see"] == f"TRACKIO_DIR={folder} trackio show --project gputrain"
    with sqlite3.connect(folder / "gputrain.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics order by id").fetchall()
        ((config,),) = database.execute("select config from configs").fetchall()
    assert {name for name, _, _ in rows} == {run.id}
    values = [(step, json.loads(metrics)) for _, step, metrics in rows]
    assert [(step, row["train/loss"]) for step, row in values if "train/loss" in row] == [(1, 2.5), (3, 1.5)]
    assert [row["val/accuracy"] for _, row in values if "val/accuracy" in row] == [0.75]
    assert [row["notices"]["_value"] for _, row in values if "notices" in row] == ["info: a &lt;b&gt;word&lt;/b&gt;"]
    assert json.loads(config)["batch_size"] == 4
