"""Scalars that a script logs are taken where they pass, with the real loggers (extra ``frameworks``)."""

from __future__ import annotations

import pytest
from helpers.scripts.forked import Seen, run_forked

from gputrain.engine.probe import layout

pytestmark = [pytest.mark.frameworks, pytest.mark.xdist_group("loggers")]

IMPORTS = """
import os
folder = os.getcwd()
os.environ.update(WANDB_MODE="offline", WANDB_DIR=folder, WANDB_SILENT="true",
                  MLFLOW_TRACKING_URI="file:" + folder + "/runs", MLFLOW_ALLOW_FILE_STORE="true",
                  GIT_PYTHON_REFRESH="quiet")
import torch
"""
SCRIPTS = {
    "tensorboard": """
from torch.utils.tensorboard import SummaryWriter
with SummaryWriter(folder + "/board") as writer:
    for step in range(3):
        writer.add_scalar("train/loss", torch.tensor(2.0 - step), step)
        writer.add_scalar(tag="lr", scalar_value=0.5, global_step=step)
    writer.add_scalars("accuracy", {"train": 0.75, "val": 0.5}, 3)
""",
    "tensorboardX": """
from tensorboardX import SummaryWriter
with SummaryWriter(folder + "/board_x") as writer:
    for step in range(3):
        writer.add_scalar("train/loss", 2.0 - step, step)
""",
    "wandb": """
import wandb
with wandb.init(project="p") as run:
    for step in range(3):
        run.log({"train/loss": 2.0 - step, "picture": [1, 2], "note": "text"})
    wandb.log({"val/accuracy": 0.5}, step=7)
""",
    "mlflow": """
import mlflow
with mlflow.start_run():
    for step in range(3):
        mlflow.log_metric("train/loss", 2.0 - step, step=step)
    mlflow.log_metrics({"val/accuracy": 0.5}, step=7)
""",
    "tqdm": """
from tqdm import tqdm
with tqdm(range(3)) as bar:
    for step in bar:
        bar.set_postfix(loss=2.0 - step, shown=f"{0.25:.3f}", note="text")
        bar.set_postfix({"lr": 0.5})
""",
    "tqdm_auto": """
from tqdm.auto import tqdm
for step in (bar := tqdm(range(3))):
    bar.set_postfix({"loss": 2.0 - step})
""",
    "not_numbers": """
from torch.utils.tensorboard import SummaryWriter
with SummaryWriter(folder + "/none") as writer:
    writer.add_scalar("nan", float("nan"), 0)
    writer.add_text("text", "words")
""",
}
LAST = {
    "tensorboard": {"train/loss": 0.0, "lr": 0.5, "accuracy/train": 0.75, "accuracy/val": 0.5},
    "tensorboardX": {"train/loss": 0.0},
    "wandb": {"train/loss": 0.0, "val/accuracy": 0.5},
    "mlflow": {"train/loss": 0.0, "val/accuracy": 0.5},
    "tqdm": {"loss": 0.0, "shown": 0.25, "lr": 0.5},
    "tqdm_auto": {"loss": 0.0},
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    return run_forked(tmp_path_factory.mktemp("loggers"), IMPORTS, SCRIPTS)


@pytest.mark.parametrize("name", LAST)
def test_the_newest_values_are_those_that_were_logged(name: str, seen: dict[str, Seen]) -> None:
    pytest.importorskip(name.partition("_")[0])
    assert seen[name].logged == LAST[name]


@pytest.mark.parametrize("name", ["tensorboard", "tensorboardX", "wandb", "mlflow"])
def test_each_value_is_taken_once_with_its_step(name: str, seen: dict[str, Seen]) -> None:
    lines = [line for line in seen[name].lines if line["kind"] == "scalars" and "train/loss" in line["values"]]
    assert [line["values"]["train/loss"] for line in lines] == [2.0, 1.0, 0.0]
    assert [line["step"] for line in lines] == ([None] * 3 if name == "wandb" else [0, 1, 2])
    assert {line["source"] for line in lines} == {name if name != "tensorboardX" else "tensorboard"}


def test_a_script_that_only_logs_has_made_no_step(seen: dict[str, Seen]) -> None:
    for one in seen.values():
        assert (one.updates, one.slot(layout.LOADERS)) == (0, 0)
