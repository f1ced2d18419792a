"""Classification recipes: one epoch each; metrics against an independent plain loop."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training import tiny_cifar
from helpers.training.recipe_tools import loaded, one_epoch, outputs
from helpers.training.training_tools import CLASSES, draw_images, small_config, train
from PIL import Image
from torch import nn
from torchvision import models

from gputrain.engine.common.errors import BadInput
from gputrain.engine.events import DataReady, Notice
from gputrain.engine.training.networks.simple_cnn import SimpleCNN

SIDE, RESIZE = 32, 36
MODELS = [
    ("simple-cnn", "simple_cnn"),
    ("mobilenet-v2", "mobilenet_v2"),
    ("efficientnet-imagefolder", "efficientnet_b0"),
    # Each time with a small network, as a checkpoint of ResNet-50 takes more time than its epoch; with it now and then.
    ("resnet50-imagefolder", "shufflenet_v2_x0_5"),
    ("imagenet-resnet50", "shufflenet_v2_x0_5"),
    pytest.param("resnet50-imagefolder", "resnet50", marks=pytest.mark.long),
    pytest.param("imagenet-resnet50", "resnet50", marks=pytest.mark.long),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("folders"), per_class=8, side=RESIZE)


def network_of(model: str) -> nn.Module:
    if model == "simple_cnn":
        return SimpleCNN(3, 8)
    network: nn.Module = models.get_model(model, weights=None, num_classes=3)
    return network


@pytest.mark.parametrize(("recipe", "model"), MODELS)
def test_recipes_for_class_folders_report_true_metrics(recipe: str, model: str, folders: Path, tmp_path: Path) -> None:
    small: dict[str, Any] = {"image_size": SIDE, "val_resize": RESIZE, "batch_size": 8, "width": 8, "model": model}
    _, metrics = one_epoch(tmp_path, recipe, data_dir=str(folders), **small)
    paths = [(path, label) for label, name in enumerate(CLASSES) for path in sorted((folders / "val" / name).iterdir())]
    found = outputs(loaded(network_of(model), tmp_path), [Image.open(path) for path, _ in paths], SIDE, RESIZE)
    targets = torch.tensor([label for _, label in paths])
    assert metrics["loss"] == pytest.approx(float(nn.functional.cross_entropy(found, targets)), rel=0.02)
    right = int((found.argmax(1) == targets).sum())
    assert metrics["accuracy"] == pytest.approx(right / len(paths), abs=1.1 / len(paths))


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("cifar")
    tiny_cifar.write(home)
    return home


@pytest.mark.parametrize("model", ["shufflenet_v2_x0_5", pytest.param("resnet18", marks=pytest.mark.long)])
def test_cifar10_is_read_as_torchvision_downloads_it(cifar: Path, tmp_path: Path, model: str) -> None:
    """Compared with its pickles, read without our reader; also with worker processes."""
    result, metrics = one_epoch(
        tmp_path,
        "cifar10",
        data_dir=str(cifar),
        image_size=32,
        val_resize=32,
        batch_size=20,
        loader="processes",
        model=model,
        cache="ram",
    )
    (data,) = result.of(DataReady)
    assert (data.train_images, data.val_images) == (60, 12)
    assert list(data.classes) == tiny_cifar.CLASSES
    assert any("all images are in memory" in notice.text for notice in result.of(Notice))
    test = pickle.loads((cifar / "cifar-10-batches-py" / "test_batch").read_bytes())
    pictures = [Image.fromarray(row.reshape(3, 32, 32).transpose(1, 2, 0)) for row in test["data"]]
    found = outputs(loaded(models.get_model(model, num_classes=10), tmp_path), pictures, 32, 32)
    targets = torch.tensor(test["labels"])
    assert metrics["loss"] == pytest.approx(float(nn.functional.cross_entropy(found, targets)), rel=1e-3)
    assert metrics["accuracy"] == pytest.approx(float((found.argmax(1) == targets).float().mean()))
    assert metrics["accuracy_top5"] == pytest.approx(
        float((found.topk(5, 1).indices == targets[:, None]).any(1).float().mean())
    )


class Harmful:
    """Code that an unpickler would run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.mark,)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no pickle", "cannot be read"),
        (b"", "cannot be read"),
        (pickle.dumps([1], 2), "holds a list"),
        (pickle.dumps({"data": np.zeros((2, 30), np.uint8), "labels": [0, 1]}, 2), "not images of 32 × 32"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, 2), "not one label for each"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}, 2), "numbers from 0 to 9"),
    ],
)
def test_damaged_batches_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    tiny_cifar.write(tmp_path, per_batch=2)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(content)
    with pytest.raises(BadInput, match=f"data_batch_3.*{message}"):
        train(tmp_path, small_config(tmp_path, dataset="cifar10"))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    tiny_cifar.write(tmp_path, per_batch=2)
    mark = tmp_path / "mark"
    tiny_cifar.dump(tmp_path / "cifar-10-batches-py" / "test_batch", Harmful(mark))
    with pytest.raises(BadInput, match=r"test_batch: cannot be read .it names __builtin__.getattr"):
        train(tmp_path, small_config(tmp_path, dataset="cifar10"))
    assert not mark.exists()


def test_a_folder_without_cifar10_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no cifar-10-batches-py.*download=True"):
        train(tmp_path, small_config(tmp_path, dataset="cifar10"))


def test_a_model_of_timm(folders: Path, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    _, metrics = one_epoch(
        tmp_path, "simple-cnn", data_dir=str(folders), image_size=SIDE, val_resize=RESIZE, model="timm/resnet10t"
    )
    paths = [(path, label) for label, name in enumerate(CLASSES) for path in sorted((folders / "val" / name).iterdir())]
    network = loaded(timm.create_model("resnet10t", num_classes=3), tmp_path)
    found = outputs(network, [Image.open(path) for path, _ in paths], SIDE, RESIZE)
    targets = torch.tensor([label for _, label in paths])
    assert metrics["loss"] == pytest.approx(float(nn.functional.cross_entropy(found, targets)), rel=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet5"}, "there is no 'resnet5'; did you mean 'resnet50'.*timm/NAME"),
        ({"model": "timm/resnet5"}, "timm has no 'resnet5'; did you mean"),
        ({"weights": "nowhere.pth"}, "no file 'nowhere.pth', and simple_cnn has no weights by name"),
        ({"model": "resnet18", "weights": "IMAGENET1K_V2"}, "did you mean 'IMAGENET1K_V1'.*torchvision has"),
        ({"model": "timm/resnet10t", "weights": "best"}, "weights=DEFAULT"),
    ],
)
def test_wrong_names_are_reported_with_suggestions(
    changes: dict[str, str], message: str, folders: Path, tmp_path: Path
) -> None:
    if "timm" in changes.get("model", ""):
        pytest.importorskip("timm")
    with pytest.raises(BadInput, match=message):
        train(tmp_path, small_config(folders, **changes))


def test_timm_that_is_not_installed_is_named_with_the_remedy(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BadInput, match=r"needs timm.*pip install 'gputrain-tui\[timm\]'"):
        train(tmp_path, small_config(folders, model="timm/resnet10t"))


def test_weights_that_cannot_be_downloaded_are_named_with_their_address(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # No proxy answers at the discard port, so that no network is needed to have none.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BadInput, match=r"DEFAULT cannot be downloaded .*https://download.pytorch.org/.*pth elsewhere"):
        train(tmp_path, small_config(folders, model="resnet18", weights="DEFAULT"))


@pytest.mark.parametrize("wrap", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_weights_of_a_file_are_loaded_except_for_the_classifier(wrap: str, folders: Path, tmp_path: Path) -> None:
    other = SimpleCNN(7, 8)
    file = tmp_path / "weights.pth"
    torch.save({"state_dict": {wrap + name: value for name, value in other.state_dict().items()}}, file)
    train(tmp_path, small_config(folders, weights=str(file), lr=1e-9, epochs=1, max_steps=1))
    network = loaded(SimpleCNN(3, 8), tmp_path)
    assert isinstance(network, SimpleCNN)
    torch.testing.assert_close(network.stem[0].weight, other.stem[0].weight, atol=1e-6, rtol=0)
