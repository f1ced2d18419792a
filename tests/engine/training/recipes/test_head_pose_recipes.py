"""Head-pose recipes: annotations, angles, mirroring and crops, each against an independent computation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.io
import torch
from helpers.training import tiny_faces
from helpers.training.recipe_tools import loaded, one_epoch, outputs
from helpers.training.training_tools import small_config, train
from PIL import Image
from scipy.spatial.transform import Rotation
from torch import nn
from torchvision import models

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.datasets import mat_file
from gputrain.engine.events import DataReady, Notice, Validated
from gputrain.engine.training.networks.simple_cnn import SimpleCNN
from gputrain.engine.training.readers import biwi, lp300w
from gputrain.engine.training.readers.reader import OpenedDataset
from gputrain.engine.training.runtime.batch import Batch
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.tasks.head_pose import HeadPose
from gputrain.engine.training.tasks.task import is_better
from gputrain.engine.training.transforms.device_transforms import DevicePrefetcher

SMALL: dict[str, Any] = {"image_size": 32, "val_resize": 36, "batch_size": 4, "model": "simple_cnn", "width": 8}
# The recipes' own network takes longer, and is tried now and then.
NETWORKS = ["simple_cnn", pytest.param("resnet50", marks=pytest.mark.long)]
CPU = Compute(torch.device("cpu"), "a CPU", "fp32")


@pytest.fixture(scope="module")
def lp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_faces.lp300w(tmp_path_factory.mktemp("lp"))


@pytest.fixture(scope="module")
def kinect(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_faces.biwi(tmp_path_factory.mktemp("biwi"))


def network_of(model: str) -> nn.Module:
    if model == "simple_cnn":
        return SimpleCNN(3, 8)
    network: nn.Module = models.get_model(model, weights=None, num_classes=3)
    return network


def check_errors(metrics: dict[str, float], found: torch.Tensor, truth: npt.NDArray[np.float64]) -> None:
    errors = np.abs(found.numpy() - truth).mean(axis=0)
    for name, error in zip(("yaw", "pitch", "roll"), errors, strict=True):
        assert metrics[f"mae_{name}"] == pytest.approx(error, rel=0.01)
    assert metrics["mae"] == pytest.approx(errors.mean(), rel=0.01)
    assert metrics["loss"] == metrics["mae"]


@pytest.mark.parametrize("model", NETWORKS)
def test_300w_lp_reports_true_errors(lp: Path, tmp_path: Path, model: str) -> None:
    """Compared with scipy's MAT reader, Pillow's crop, and NumPy's degrees."""
    result, metrics = one_epoch(tmp_path, "headpose-300wlp", data_dir=str(lp), **SMALL | {"model": model})
    (data,) = result.of(DataReady)
    assert (data.train_images, data.val_images, data.class_count) == (19, 7, 0)
    notes = [notice.text for notice in result.of(Notice)]
    assert any("19 faces; left out: 1 turned by more than 99°, 2 without a usable annotation" in text for text in notes)
    pictures, truth = [], []
    for picture in sorted((lp / "AFLW2000").glob("*.jpg")):
        content = scipy.io.loadmat(picture.with_suffix(".mat"))
        pitch, yaw, roll = np.degrees(content["Pose_Para"][0, :3])
        truth.append((yaw, pitch, roll))
        (left, top), (right, bottom) = content["pt2d"].min(1), content["pt2d"].max(1)
        wide, high = 0.2 * (right - left), 0.2 * (bottom - top)
        box = (left - 0.6 * wide, top - 2 * high, right + 0.6 * wide, bottom + 0.6 * high)
        pictures.append(Image.open(picture).crop(tuple(round(max(0, side)) for side in box)))
    check_errors(metrics, outputs(loaded(network_of(model), tmp_path), pictures, 32, 36), np.array(truth))


@pytest.mark.parametrize("model", NETWORKS)
def test_biwi_reports_true_errors_on_held_out_sequences(kinect: Path, tmp_path: Path, model: str) -> None:
    """Compared with scipy's Euler angles, and heads projected independently."""
    result, metrics = one_epoch(tmp_path, "headpose-biwi", data_dir=str(kinect), **SMALL | {"model": model})
    (data,) = result.of(DataReady)
    assert (data.train_images, data.val_images) == (12, 4)
    config = settings.build({"data_dir": str(kinect), "train_split": ".", "val_split": "", "val_share": 0.3})
    read = biwi.read(config, lambda _: None)
    assert read.val is not None
    pictures, truth = [], []
    for index in range(len(read.val)):
        path = Path(read.val.path(index))
        rows = np.loadtxt(path.with_name(path.name.replace("_rgb.png", "_pose.txt")))
        around_x, around_y, around_z = Rotation.from_matrix(rows[:3]).as_euler("XYZ", degrees=True)
        truth.append((around_y, -around_x, around_z))
        pictures.append(Image.open(path).crop(projected(rows[3])))
    sequences = {read.val.name(index).split("/")[0] for index in range(len(read.val))}
    assert not sequences & {read.train.name(index).split("/")[0] for index in range(len(read.train))}
    check_errors(metrics, outputs(loaded(network_of(model), tmp_path), pictures, 32, 36), np.array(truth))


def projected(centre: npt.NDArray[np.float64]) -> tuple[float, float, float, float]:
    """The box around a head by tiny_faces' calibration."""
    turn = np.array([float(word) for word in tiny_faces.RGB_CAL.split()[13:22]]).reshape(3, 3)
    x, y, z = turn @ centre + (-24.0198, 5.8896, -13.2308)
    u, v, half = 517.679 * x / z + 320, 517.679 * y / z + 240.5, 517.679 * 125 / z
    return (
        round(max(0, u - half)),
        round(max(0, v - half)),
        round(min(640, u + half)),
        round(min(480, v + half)),
    )


@pytest.mark.parametrize("turn", [(20.0, -35.0, 10.0), (-80.0, 5.0, -60.0), (0.0, 0.0, 0.0)])
def test_a_mirrored_head_has_the_other_yaw_and_roll(turn: tuple[float, float, float]) -> None:
    """Mirror the head in space, and compute its angles again."""
    yaw, pitch, roll = turn
    rotation = Rotation.from_euler("XYZ", (-pitch, yaw, roll), degrees=True).as_matrix()
    mirror = np.diag((-1.0, 1.0, 1.0))
    assert biwi.angles(rotation) == pytest.approx(turn)
    task = HeadPose(np.array([biwi.angles(rotation)], dtype=np.float32))
    mirrored = task.targets(torch.tensor([0]), torch.tensor([True]))
    assert mirrored[0].tolist() == pytest.approx(biwi.angles(mirror @ rotation @ mirror), abs=1e-4)


def test_images_mirrored_on_the_device_have_mirrored_targets() -> None:
    """Yaw and roll change sign for exactly the images that the device flips."""
    config = settings.build({"augment": "flip", "image_size": 32})
    angles = np.arange(1, 97, dtype=np.float32).reshape(32, 3)
    ramp = torch.arange(32, dtype=torch.uint8).expand(32, 3, 32, 32)
    rows = torch.arange(32)
    feed = DevicePrefetcher(config, CPU, train=True, task=HeadPose(angles))
    prepared = feed.prepare(next(feed.batches(iter([Batch(ramp, rows, rows, 3, 0)]), StepClock(CPU))))
    flipped = prepared.images[:, 0, 0, 0] > prepared.images[:, 0, 0, -1]
    assert 5 < int(flipped.sum()) < 27
    signs = torch.where(flipped[:, None], torch.tensor([-1.0, 1.0, -1.0]), torch.ones(3))
    torch.testing.assert_close(prepared.targets, torch.from_numpy(angles) * signs)


def test_less_error_is_better_and_stops_early(lp: Path, tmp_path: Path) -> None:
    task = HeadPose(np.zeros((1, 3), np.float32))
    assert is_better(task, 4.0, 5.0)
    assert not is_better(task, 5.0, 5.0)
    # At such a rate nothing is learned: the first validation stays the best, but for batch norm's averages.
    values = {"dataset": "300wlp", "train_split": "300W_LP", "val_split": "AFLW2000", "augment": "flip", "lr": 30.0}
    result = train(tmp_path, small_config(lp, **values, epochs=12, early_stop=1, batch_size=4))
    validated = result.of(Validated)
    best = [event.best for event in validated]
    errors = [event.metrics["mae"] for event in validated]
    assert best == [error == min(errors[: number + 1]) for number, error in enumerate(errors)]
    assert "mae" in result.ended.reason


def test_renderings_of_one_photograph_stay_on_one_side(lp: Path) -> None:
    config = settings.build({"data_dir": str(lp), "train_split": "300W_LP", "val_split": "", "val_share": 0.3})
    data = lp300w.read(config, lambda _: None)
    assert data.val is not None
    assert len(data.train) + len(data.val) == 19
    subjects = [{subject(part.name(index)) for index in range(len(part))} for part in (data.train, data.val)]
    assert not subjects[0] & subjects[1]
    assert again(config) == again(config)


def subject(name: str) -> str:
    folder, file = name.split("/")
    return folder.split("_")[0] + file.rsplit("_", 1)[0]


def again(config: Any) -> bytes:
    data: OpenedDataset = lp300w.read(config, lambda _: None)
    assert data.val is not None
    return data.val.names


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kind", ["f8", "f4", "i2", "u1", "i4", "u8"])
def test_mat_files_are_read_as_by_scipy(compressed: bool, kind: str, tmp_path: Path) -> None:
    values = (np.arange(21).reshape(3, 7) % 11).astype(kind)
    content = {"text": "words", "wanted": values, "x": np.array([[1.5]]), "cell": np.array([[1, "a"]], dtype=object)}
    scipy.io.savemat(tmp_path / "a.mat", content, do_compression=compressed)
    found = mat_file.read(tmp_path / "a.mat", ("wanted", "x", "missing", "text"))
    assert set(found) == {"wanted", "x"}
    np.testing.assert_array_equal(found["wanted"], scipy.io.loadmat(tmp_path / "a.mat")["wanted"])
    assert float(found["x"][0, 0]) == 1.5


@pytest.mark.parametrize("cut", [0, 60, 127, 150, -9])
def test_a_damaged_mat_file_is_refused(cut: int, tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"wanted": np.ones((3, 7))}, do_compression=True)
    whole = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "b.mat").write_bytes(whole[:cut])
    with pytest.raises(mat_file.BadMatFile):
        mat_file.read(tmp_path / "b.mat", ("wanted",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixup": 0.2}, "mixup: cannot be used with head poses; set mixup=0"),
        ({"label_smoothing": 0.1}, "set label_smoothing=0"),
        ({"auto_augment": "randaugment"}, "set auto_augment=none"),
        ({"train_split": "300W"}, "train_split: there is no folder '300W'.*did you mean '300W_LP'"),
        ({"dataset": "biwi", "train_split": "300W_LP"}, "no faces are left|no sequences of BIWI"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    changes: dict[str, Any], message: str, lp: Path, tmp_path: Path
) -> None:
    values = {"dataset": "300wlp", "train_split": "300W_LP", "val_split": ""} | changes
    with pytest.raises(BadInput, match=message):
        train(tmp_path, small_config(lp, **values))


def test_a_folder_with_only_turned_faces_is_refused(lp: Path, tmp_path: Path) -> None:
    folder = tmp_path / "300W_LP"
    folder.mkdir()
    rng = np.random.default_rng(0)
    tiny_faces.draw_lp300w(folder / "a_0.jpg", rng, far=True)
    shutil.copy(folder / "a_0.jpg", folder / "b_0.jpg")
    config = settings.build({"data_dir": str(tmp_path), "train_split": "300W_LP", "val_split": ""})
    with pytest.raises(BadInput, match="of 2 pictures 1 have no usable annotation, 1 are turned by more than 99°"):
        lp300w.read(config, lambda _: None)
