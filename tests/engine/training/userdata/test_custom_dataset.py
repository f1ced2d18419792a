"""Custom data sets and models: real modules in the user's folder, with names that could shadow others."""

from __future__ import annotations

import importlib
import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training.recipe_tools import loaded, one_epoch, outputs
from helpers.training.training_tools import CLASSES, draw_images, small_config, train
from PIL import Image
from torch import nn

from gputrain.engine.common.errors import BadInput
from gputrain.engine.events import DataReady, LoaderStats, ModelReady, Notice, Validated
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.readers import custom_dataset
from gputrain.engine.training.state import torch_checkpoint

DATA = '''
import os
import random

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, WeightedRandomSampler

from engine import SCALE  # a module of ours has the same name
from parts.tools import halves


class Pictures(Dataset):
    def __init__(self, root, split, noisy=False):
        home = os.path.join(root, split)
        self.classes = sorted(os.listdir(home))
        self.files = [
            (os.path.join(home, name, file), label)
            for label, name in enumerate(self.classes)
            for file in sorted(os.listdir(os.path.join(home, name)))
        ]
        self.noisy = noisy

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        path, label = self.files[index]
        picture = Image.open(path).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
        if self.noisy and random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.noisy:
            pixels = np.asarray(picture, np.int16) + np.random.randint(0, 20) + int(torch.randint(0, 20, ()))
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        return picture, label


def both(data_dir):
    return Pictures(data_dir, "train", noisy=True), Pictures(data_dir, "val")


class Points(Dataset):
    """Vectors with two target numbers each."""

    def __init__(self, count):
        generator = torch.Generator().manual_seed(count)
        self.inputs = torch.randn(count, 5, generator=generator, dtype=torch.float64)
        self.targets = self.inputs[:, :2] * SCALE + halves(self.inputs[:, 2:4])

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return self.inputs[index], self.targets[index]


def points(data_dir):
    return {"train": Points(64), "val": Points(20), "loss": lambda outputs, targets: (outputs - targets).abs().mean()}


def weighted(data_dir):
    pictures = Pictures(data_dir, "train")
    weights = [1.0 if label == 0 else 0.0 for _, label in pictures.files]
    return {"train": pictures, "sampler": WeightedRandomSampler(weights, 12), "classes": 3}


class Broken(Pictures):
    def __getitem__(self, index):
        if index == 7:
            raise ValueError("the seventh is bad")
        return super().__getitem__(index)


def broken(data_dir):
    return Broken(data_dir, "train")


class Uneven(Points):
    def __getitem__(self, index):
        return self.inputs[index][: 5 - index % 2], self.targets[index]


class Triples(Points):
    def __getitem__(self, index):
        return self.inputs[index], self.targets[index], "more"


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


class Classless(Points):
    def __getitem__(self, index):
        return self.inputs[index], 1


fails = lambda data_dir: {}["nothing"]
misspelt = lambda data_dir: {"trian": Points(4)}
nothing = lambda data_dir: {"val": Points(4)}
number = lambda data_dir: 5
empty = lambda data_dir: Points(0)
stream = lambda data_dir: Stream()
uneven = lambda data_dir: Uneven(8)
triples = lambda data_dir: Triples(8)
classless = lambda data_dir: Classless(8)
constant = 5
'''
NETS = """
from torch import nn


class Small(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.head = nn.Linear(128, outputs)

    def forward(self, images):
        return self.head(self.body(images))


def flat(outputs):
    return nn.Linear(5, outputs)


def no_module(outputs):
    return "text"


def fails(outputs):
    return nn.Linear(5, outputs).missing
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def code(tmp_path: Path) -> Iterator[Path]:
    """A folder with modules named like Python's, like ours, and otherwise."""
    home = tmp_path / "their code"
    (home / "parts").mkdir(parents=True)
    (home / "mydata.py").write_text(DATA)
    (home / "nets.py").write_text(NETS)
    (home / "engine.py").write_text("SCALE = 3.0\n")
    (home / "queue.py").write_text("raise RuntimeError('this is not the queue of Python')\n")
    (home / "wrong.py").write_text("def f(:\n")
    (home / "needs.py").write_text("import a_package_that_is_not_there\n")
    (home / "parts" / "__init__.py").write_text("")
    (home / "parts" / "tools.py").write_text("def halves(x):\n    return x / 2\n")
    before, finders = set(sys.modules), list(sys.meta_path)
    yield home
    sys.meta_path[:] = finders
    for name in set(sys.modules) - before:
        if not name.startswith(("gputrain", "torch")):
            del sys.modules[name]


def own(code: Path, **changes: Any) -> dict[str, Any]:
    return {"dataset": "custom", "code_dir": str(code), "augment": "none", "batch_size": 6} | changes


def weights(directory: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch_checkpoint.load(str(directory), pytest.fail)["model"]
    return found


def test_a_custom_data_set_and_model_report_true_metrics(code: Path, images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    values = own(code, custom="mydata:both", model="nets:Small", cache="ram")
    result, metrics = one_epoch(run, "custom", data_dir=str(images), **values)
    assert any("cache=ram: not used" in notice.text for notice in result.of(Notice))
    (data,) = result.of(DataReady)
    assert (data.train_images, data.val_images, data.classes) == (36, 18, CLASSES)
    (model,) = result.of(ModelReady)
    assert model.parameters == 8 * 76 + 129 * 3
    stats = result.of(LoaderStats)
    assert stats[0].kind == "processes"
    assert sum(event.samples for event in stats) >= 36
    assert any(event.busy for event in stats)
    paths = [(path, label) for label, name in enumerate(CLASSES) for path in sorted((images / "val" / name).iterdir())]
    network = loaded(importlib.import_module("nets").Small(3), run)
    found = outputs(network, [Image.open(path) for path, _ in paths], 32, 32)
    targets = torch.tensor([label for _, label in paths])
    assert metrics["loss"] == pytest.approx(float(nn.functional.cross_entropy(found, targets)), rel=1e-3)
    assert metrics["accuracy"] == pytest.approx(float((found.argmax(1) == targets).float().mean()))


@pytest.mark.long
def test_random_numbers_do_not_depend_on_workers_or_resuming(code: Path, images: Path, tmp_path: Path) -> None:
    values = own(code, custom="mydata:both", epochs=2, checkpoint_steps=4, keep_last=50)
    for workers in (0, 2):
        train(directory(tmp_path, str(workers)), small_config(images, num_workers=workers, **values))
    expected = weights(tmp_path / "2")
    found = weights(tmp_path / "0")
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    middle = tmp_path / "0" / "checkpoints" / "step-00000004.pt"
    resumed = small_config(images, num_workers=1, resume_from=str(middle), **values)
    train(directory(tmp_path, "resumed"), resumed)
    found = weights(tmp_path / "resumed")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def directory(home: Path, name: str) -> Path:
    (home / name).mkdir()
    return home / name


def test_regression_with_a_custom_loss(code: Path, tmp_path: Path) -> None:
    values = own(code, custom="mydata:points", model="nets:flat", lr=0.5, optimizer="adam", epochs=8, num_workers=0)
    result = train(tmp_path, small_config(Path(), **values))
    (_, *_, last) = result.of(Validated)
    assert last.metric == "mae"
    network = nn.Linear(5, 2)
    network.load_state_dict(weights(tmp_path))
    points = importlib.import_module("mydata").Points(20)
    errors = network(points.inputs.float()).detach() - points.targets
    assert last.metrics["mae"] == pytest.approx(float(errors.abs().mean()), rel=1e-4)
    assert last.metrics["loss"] == pytest.approx(float(errors.square().mean()), rel=1e-4)
    assert last.metrics["mae"] < 0.5 * result.of(Validated)[0].metrics["mae"]


def test_a_sampler_chooses_what_is_learned(code: Path, images: Path, tmp_path: Path) -> None:
    """It returns only the first class: the others are not learned."""
    values = own(code, custom="mydata:weighted", epochs=3, lr=0.2)
    result = train(tmp_path, small_config(images, **values))
    assert result.of(ModelReady)[0].total_steps == 3 * 2
    bias = weights(tmp_path)["head.bias"]
    assert bias.argmax() == 0


@pytest.mark.parametrize("persistent", [True, False])
def test_workers_end_with_their_loader_in_mid_epoch(code: Path, images: Path, persistent: bool) -> None:
    values = own(code, custom="mydata:both", num_workers=2, persistent_workers=persistent)
    config = small_config(images, **values)
    loader = make_loader(custom_dataset.read(config, lambda _: None).train, config, train=True, pin=False)
    first = next(loader.epoch(0))
    again = next(loader.epoch(0))
    assert torch.equal(first.images, again.images)
    assert len(multiprocessing.active_children()) == 2
    loader.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"custom": ""}, "custom is not set.*package.module:function"),
        ({"custom": "mydata"}, "'mydata' is not written as package.module:function"),
        ({"custom": "nodata:both"}, "there is no module 'nodata' in .*their code; code_dir"),
        ({"custom": "parts.tool:both"}, r"there is no module 'parts\.tool'"),
        ({"custom": "mydata:bth"}, "mydata:bth does not exist; did you mean 'both'"),
        ({"custom": "mydata:constant"}, "mydata:constant is not callable"),
        ({"custom": "wrong:f"}, r"wrong:f failed at wrong\.py:1: SyntaxError"),
        (
            {"custom": "needs:f"},
            r"failed at needs\.py:1 in <module>: ModuleNotFoundError: .*a_package_that_is",
        ),
        ({"custom": "mydata:fails"}, r"failed at mydata\.py:\d+ in <lambda>: KeyError: 'nothing'"),
        ({"custom": "mydata:misspelt"}, "'trian'; did you mean 'train'"),
        ({"custom": "mydata:nothing"}, "gave no 'train'"),
        ({"custom": "mydata:number"}, "train of mydata:number is a int"),
        ({"custom": "mydata:empty"}, "is empty"),
        ({"custom": "mydata:stream"}, "is an IterableDataset"),
        ({"custom": "mydata:classless"}, "their number is unknown"),
        ({"custom": "mydata:triples"}, r"sample 0 is a tuple of 3; a data set returns \(image, target\)"),
        (
            {"custom": "mydata:uneven", "model": "nets:flat"},
            "images of a batch differ: [45] of float32 in sample .* [45] of float32",
        ),
        (
            {"custom": "mydata:broken"},
            r"custom: sample 7 failed at mydata\.py:\d+ in __getitem__: ValueError: the seventh",
        ),
        ({"custom": "mydata:both", "augment": "crop_flip"}, "set augment=flip or augment=none"),
        ({"custom": "mydata:points", "hue_jitter": 0.1}, r"hue_jitter: .*\(5,\) of float32; set hue_jitter=0"),
        ({"custom": "mydata:points", "color_jitter": 0.1}, r"color_jitter: .*\(5,\) of float32; set color_jitter=0"),
        ({"custom": "mydata:points", "label_smoothing": 0.1}, "label_smoothing: is for classes"),
        ({"custom": "mydata:both", "model": "nets:no_module"}, r"nets:no_module gave a str, not a torch\.nn\.Module"),
        (
            {"custom": "mydata:both", "model": "nets:fails"},
            r"model: nets:fails failed at nets\.py:\d+ in fails: Attrib",
        ),
        ({"custom": "mydata:both", "code_dir": "/nowhere"}, "code_dir: /nowhere is not a folder"),
    ],
)
def test_errors_in_user_code_name_the_line(
    changes: dict[str, Any], message: str, code: Path, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match=message):
        train(tmp_path, small_config(images, **own(code, num_workers=1, **{"epochs": 1} | changes)))
    # The whole of an error of theirs is in the log, which is what the trainer's output goes to.
    assert ("Traceback" in capfd.readouterr().err) == ("failed at" in message)
