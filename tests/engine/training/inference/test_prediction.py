"""Prediction with PyTorch against an independent computation, for several batch sizes."""

from __future__ import annotations

import csv
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training.shards import parquets_of, tars_of
from helpers.training.training_tools import CLASSES, draw_images, small_config, train

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.normalization import IMAGENET_MEAN as MEAN
from gputrain.engine.configuration.normalization import IMAGENET_STD as STD
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.jobs.predict_job import Predicted, PredictOrder
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.training.inference import predict_child
from gputrain.engine.training.networks.simple_cnn import SimpleCNN
from gputrain.engine.training.transforms.decode import decode


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # In the size of the model input, so that nothing is resized or cropped.
    return draw_images(tmp_path_factory.mktemp("images"), side=32)


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """The configuration of a trained run with its best checkpoint."""
    directory = tmp_path_factory.mktemp("run")
    config = small_config(images, val_resize=32, epochs=3, ema_decay=0.5)
    train(directory, config)
    folder = directory / "checkpoints"
    return settings.replace(
        config, resume_from=str(folder / checkpoint_index.find(folder, "best").file), max_bad_images=1e9
    )


def tried(order: PredictOrder) -> Predicted:
    context = multiprocessing.get_context("spawn")
    outbox, (inbox, _other) = context.Queue(), context.Pipe(duplex=False)
    reporter = EventReporter(outbox)
    found = predict_child._work(order, reporter, TrainerControl(inbox, reporter), lambda text: None)
    outbox.cancel_join_thread()
    return found


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def by_hand(config: RunConfig, paths: list[Path]) -> torch.Tensor:
    """Probabilities from the EMA weights, (N, classes), without loader and prefetcher."""
    state = torch.load(config.resume_from, weights_only=True)
    network = SimpleCNN(len(CLASSES), 8)
    network.load_state_dict(state["ema"])
    pixels = np.stack([decode(path.read_bytes(), str(path)) for path in paths])
    normal = (pixels / 255 - np.array(MEAN)) / np.array(STD)
    with torch.inference_mode():
        scores: torch.Tensor = network.eval()(torch.from_numpy(normal).float().permute(0, 3, 1, 2))
    return scores.softmax(1)


@pytest.mark.parametrize(("batch_size", "workers"), [(6, 2), (5, 0), (100, 1)])
def test_prediction_of_validation_images_has_metrics(
    trained: RunConfig, images: Path, tmp_path: Path, batch_size: int, workers: int
) -> None:
    output = tmp_path / "out.csv"
    config = settings.replace(trained, batch_size=batch_size, num_workers=workers)
    found = tried(PredictOrder(config=config, output=str(output)))
    paths = sorted((images / "val").glob("*/*.jpg"))
    expected = by_hand(trained, paths)
    told = rows(output)
    assert [row["sample"] for row in told] == [str(path.relative_to(images / "val")) for path in paths]
    assert [row["class"] for row in told] == [CLASSES[int(best)] for best in expected.argmax(1)]
    assert [float(row["probability"]) for row in told] == pytest.approx(expected.amax(1).tolist(), abs=1e-4)
    right = [row["class"] == path.parent.name for row, path in zip(told, paths, strict=True)]
    assert found.metrics["accuracy"] == pytest.approx(np.mean(right))
    assert found.samples == len(paths) == sum(found.counts)
    assert found.samples_per_second > 0


def test_prediction_of_a_folder_has_no_metrics_and_leaves_out_unreadable_images(
    trained: RunConfig, images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "any"
    (folder / "deep").mkdir(parents=True)
    for number, path in enumerate(sorted((images / "val").glob("*/*.jpg"))):
        shutil.copy(path, folder / ("deep" if number % 2 else ".") / f"{number:02}.jpg")
    (folder / "05.jpg").write_bytes(b"no picture")
    output = tmp_path / "out.csv"
    found = tried(PredictOrder(config=trained, images=str(folder), output=str(output)))
    assert (found.metrics, found.bad_samples) == ({}, 1)
    names = [row["sample"] for row in rows(output)]
    assert len(names) == len(set(names)) == found.samples - 1
    assert "05.jpg" not in names
    alone = tried(PredictOrder(config=trained, images=str(folder / "04.jpg"), output=str(output)))
    assert alone.samples == 1
    assert [row["sample"] for row in rows(output)] == ["04.jpg"]


def test_folders_of_the_runs_classes_have_labels_and_a_limit_holds(trained: RunConfig, images: Path) -> None:
    whole = tried(PredictOrder(config=trained, images=str(images / "val")))
    assert whole.metrics == tried(PredictOrder(config=trained)).metrics
    assert tried(PredictOrder(config=trained, limit=7)).samples == 7


@pytest.mark.parametrize("convert", [tars_of, parquets_of], ids=["tar", "parquet"])
def test_shards_have_labels(trained: RunConfig, images: Path, tmp_path: Path, convert: Callable[..., Path]) -> None:
    """A folder of shards, or a single one."""
    if convert is parquets_of:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")
    folder = convert(images, tmp_path / "shards")
    found = sorted(folder.rglob("val-*.*"))
    for path in folder.rglob("train-*.*"):
        path.unlink()
    output = tmp_path / "found.csv"
    whole = tried(PredictOrder(config=trained, images=str(found[0].parent), output=str(output)))
    assert whole.metrics == tried(PredictOrder(config=trained)).metrics
    named = [row["sample"] for row in rows(output)]
    assert len(named) == 18
    assert all(name.startswith("val-0") for name in named)
    assert tried(PredictOrder(config=trained, images=str(found[0]))).samples == 7


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ({}, "nowhere", "nowhere does not exist"),
        ({}, "empty", "empty has no images"),
        ({"dataset": "clips", "model": "simple_cnn"}, "empty", "samples of dataset=clips are not single images"),
        ({"model": "resnet18"}, "", "the checkpoint does not fit the model"),
    ],
)
def test_prediction_refuses_unsuitable_images(
    trained: RunConfig, tmp_path: Path, changes: dict[str, Any], where: str, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    order = PredictOrder(
        config=settings.replace(trained, **changes), images=str(tmp_path / where) if where else "", output=""
    )
    with pytest.raises(BadInput, match=said):
        tried(order)


def test_an_incomplete_prediction_file_is_deleted(trained: RunConfig, tmp_path: Path, images: Path) -> None:
    with pytest.raises(BadInput, match="cannot be written: No such file"):
        tried(PredictOrder(config=trained, output=str(tmp_path / "no" / "out.csv")))
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(b"no picture")
    with pytest.raises(BadInput, match="none of the 1 images can be read"):
        tried(PredictOrder(config=trained, images=str(folder), output=str(tmp_path / "out.csv")))
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


def test_regression_outputs_are_columns(tmp_path: Path) -> None:
    from gputrain.engine.training.inference.prediction_columns import output_reading
    from gputrain.engine.training.tasks.head_pose import HeadPose
    from gputrain.engine.training.tasks.regression import Regression

    heads = output_reading(HeadPose(np.zeros((1, 3), np.float32)), ())
    assert heads.columns == ("yaw", "pitch", "roll")
    assert heads.cells(heads.values(torch.tensor([[1.0, -2.5, 3.0]]))[0].tolist()) == ["1", "-2.5", "3"]
    assert output_reading(Regression(2), ()).columns == ("output_0", "output_1")
