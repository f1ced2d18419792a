"""Clip recipe: reading, grouping, ConvLSTM, and metrics computed independently."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training.recipe_tools import MEAN, STD, loaded, one_epoch
from helpers.training.tiny_clips import SIDE, draw
from helpers.training.training_tools import small_config, train
from PIL import Image
from torch import nn
from torchvision import models

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.events import DataReady, ModelReady
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.networks.clip_network import ClipNetwork, ConvLstm, encoder_of
from gputrain.engine.training.networks.simple_cnn import SimpleCNN
from gputrain.engine.training.readers import clip_folders
from gputrain.engine.training.runtime.batch import Batch
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.tasks.clip_classification import ClipClassification, auc
from gputrain.engine.training.transforms.device_transforms import DevicePrefetcher

CPU = Compute(torch.device("cpu"), "a CPU", "fp32")
FRAMES = 3
SMALL: dict[str, Any] = {
    "image_size": SIDE,
    "val_resize": SIDE,
    "batch_size": 4,
    "model": "simple_cnn",
    "width": 8,
    "clip_frames": FRAMES,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("clips"))


CHANGES = [
    pytest.param({}, id="threads"),
    pytest.param({"loader": "processes"}, id="processes"),
    # The recipe's own encoders.
    pytest.param({"model": "efficientnet_b0"}, id="efficientnet", marks=pytest.mark.long),
]


@pytest.mark.parametrize("changes", CHANGES)
def test_clips_report_true_metrics(home: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Frames chosen, stacked and normalised independently; the AUC by counting pairs."""
    own = {"weights": str(lively_weights(tmp_path))} if "model" in changes else {}
    result, metrics = one_epoch(tmp_path, "deepfake-convlstm", data_dir=str(home), **SMALL | changes | own)
    (data,) = result.of(DataReady)
    assert (data.train_images, data.classes, data.batches_per_epoch) == (10 * 2 * FRAMES, ("fake", "real"), 2)
    assert result.of(ModelReady)[0].flops_per_image
    encoders = [models.efficientnet_b0() if "model" in changes else SimpleCNN(2, 8) for _ in range(2)]
    network = loaded(ClipNetwork(encoders, 2), tmp_path)
    scores, targets = [], []
    for label, name in enumerate(("fake", "real")):
        for clip in sorted((home / "val" / name).iterdir()):
            frames = [frame for stream in ("high", "low") for frame in chosen(clip / stream)]
            with torch.inference_mode():
                scores.append(network(torch.stack([tensor(frame) for frame in frames])[None])[0])
            targets.append(label)
    found, wanted = torch.stack(scores), torch.tensor(targets)
    assert found.std(0).min() > 1e-6
    assert metrics["loss"] == pytest.approx(float(nn.functional.cross_entropy(found, wanted)), rel=1e-3)
    assert metrics["accuracy"] == pytest.approx(float((found.argmax(1) == wanted).float().mean()))
    assert metrics["auc"] == pytest.approx(by_pairs((found[:, 1] - found[:, 0]).tolist(), targets))


def lively_weights(folder: Path) -> Path:
    """Weights of the recipe's own network that tell images apart: at its random start, before its norms have seen any
    images, EfficientNet gives the same for all."""
    torch.manual_seed(0)
    network = ClipNetwork([models.efficientnet_b0() for _ in range(2)], 2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.randn(4, 2 * FRAMES, 3, SIDE, SIDE))
    torch.save(network.state_dict(), folder / "weights.pth")
    return folder / "weights.pth"


def chosen(folder: Path) -> list[Path]:
    """The first, the middle and the last frame."""
    files = sorted(folder.iterdir())
    return [files[0], files[round((len(files) - 1) / 2)], files[-1]]


def tensor(path: Path) -> torch.Tensor:
    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("RGB"), np.float32) / 255
    return torch.from_numpy(((pixels - MEAN) / STD).transpose(2, 0, 1)).float()


def by_pairs(scores: list[float], targets: list[int]) -> float:
    ones = [score for score, target in zip(scores, targets, strict=True) if target]
    zeros = [score for score, target in zip(scores, targets, strict=True) if not target]
    pairs = [1.0 if one > zero else 0.5 if one == zero else 0.0 for one in ones for zero in zeros]
    return sum(pairs) / len(pairs)


def test_the_area_under_the_curve_counts_pairs_and_halves_of_equal_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    for levels in (3, 1000):
        scores = torch.randint(0, levels, (60,), generator=generator).float()
        targets = (torch.rand(60, generator=generator) < 0.3).long()
        assert auc(scores, targets) == pytest.approx(by_pairs(scores.tolist(), targets.tolist()))


def test_conv_lstm_equals_an_lstm_on_maps_of_one_pixel() -> None:
    """Compared with torch's cell: on a 1 × 1 map only the centre of a 3 × 3 kernel counts."""
    torch.manual_seed(1)
    memory, cell = ConvLstm(5, 4), nn.LSTMCell(5, 4)
    middle = memory.gates.weight[:, :, 1, 1].detach()
    # torch's order of the gates is input, forget, new, output; ours has output before new.
    order = torch.cat((torch.arange(0, 8), torch.arange(12, 16), torch.arange(8, 12)))
    with torch.no_grad():
        cell.weight_ih.copy_(middle[order, :5])
        cell.weight_hh.copy_(middle[order, 5:])
        assert memory.gates.bias is not None
        cell.bias_ih.copy_(memory.gates.bias[order])
        cell.bias_hh.zero_()
    frames = torch.randn(2, 6, 5)
    state: tuple[torch.Tensor, torch.Tensor] | None = None
    for frame in frames.unbind(1):
        state = cell(frame, state)
    assert state is not None
    torch.testing.assert_close(memory(frames[..., None, None])[:, :, 0, 0], state[0])


def test_frame_order_matters_and_each_stream_has_its_encoder() -> None:
    torch.manual_seed(2)
    network = ClipNetwork([SimpleCNN(2, 4), SimpleCNN(2, 4)], 2).eval()
    clip = torch.randn(1, 6, 3, SIDE, SIDE)
    whole = network(clip)
    assert not torch.allclose(whole, network(clip[:, [1, 0, 2, 3, 4, 5]]))
    assert not torch.allclose(whole, network(clip[:, [3, 4, 5, 0, 1, 2]]))
    torch.testing.assert_close(network(clip.expand(3, -1, -1, -1, -1))[2:], whole)


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v2", "resnet18", "densenet121", "convnext_tiny"])
def test_encoders_of_known_networks_give_maps(name: str) -> None:
    with torch.device("meta"):
        assert encoder_of(models.get_model(name)).eval()(torch.empty(1, 3, 64, 64)).ndim == 4


def test_frames_of_a_clip_stay_together_and_get_the_same_augmentation(home: Path) -> None:
    config = settings.build({**SMALL, "data_dir": str(home), "augment": "crop_flip", "color_jitter": 0.5})
    data = clip_folders.read(config, lambda _: None)
    loader = make_loader(data.train, config, train=True, pin=False)
    try:
        for batch in loader.epoch(0):
            samples = batch.indices.view(-1, 6) // 6
            assert (samples == samples[:, :1]).all()
            assert (batch.labels.view(-1, 6) == data.train.labels[samples[:, 0] * 6][:, None]).all()
    finally:
        loader.close()
    feed = DevicePrefetcher(config, CPU, train=True, task=data.task)
    ramps = torch.arange(0, 256, 8, dtype=torch.uint8).expand(4 * 6, 3, SIDE, SIDE)
    rows = torch.arange(4 * 6)
    prepared = feed.prepare(next(feed.batches(iter([Batch(ramps, rows // 6 % 2, rows, 1, 0)]), StepClock(CPU))))
    assert prepared.images.shape == (4, 6, 3, SIDE, SIDE)
    assert prepared.targets.tolist() == [0, 1, 0, 1]
    assert (prepared.images == prepared.images[:, :1]).all()
    assert not torch.equal(prepared.images[0], prepared.images[1])


def test_a_clip_with_a_bad_frame_is_replaced_as_a_whole(tmp_path: Path) -> None:
    home = draw(tmp_path / "clips", streams=("",), clips_each=2)
    bad = home / "train" / "real" / "real1" / "0001.png"
    bad.write_bytes(b"no picture")
    config = settings.build({**SMALL, "data_dir": str(home), "max_bad_images": 5})
    data = clip_folders.read(config, lambda _: None)
    loader = make_loader(data.train, config, train=False, pin=False)
    try:
        (batch,) = loader.epoch(0)
        samples = batch.indices.view(-1, FRAMES)
        assert len(samples) == 4
        assert (samples - samples[:, :1]).tolist() == [[0, 1, 2]] * 4
        assert 3 not in (samples // FRAMES)
        assert loader.take_stats().bad_images == 1
    finally:
        loader.close()


def test_clips_without_qualities_have_one_stream(tmp_path: Path) -> None:
    home = draw(tmp_path / "clips", streams=("",), clips_each=2)
    result, metrics = one_epoch(tmp_path / "run", "deepfake-convlstm", data_dir=str(home), **SMALL | {"batch_size": 2})
    assert result.of(DataReady)[0].train_images == 4 * FRAMES
    assert 0 <= metrics["auc"] <= 1


def without(home: Path, name: str) -> None:
    shutil.rmtree(home / name)


@pytest.mark.parametrize(
    ("damage", "changes", "message"),
    [
        ("train/real", {}, "train_split: .* has 1 class folders, where two are needed"),
        ("val/real", {}, "val_split: .* has 1 class folders"),
        ("train/real/real0/low", {}, "real0 has 1 of the streams high, low.* all clips must be alike"),
        ("", {"mixup": 0.2}, "mixup: cannot be used with clips; set mixup=0"),
        ("", {"model": "vit_b_16", "image_size": 224}, "VisionTransformer has no part that gives maps"),
        ("", {"train_split": "training"}, "there is no folder 'training'"),
    ],
)
def test_clips_that_do_not_fit_are_refused(damage: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    home = draw(tmp_path / "clips", clips_each=2)
    if damage:
        without(home, damage)
    with pytest.raises(BadInput, match=message):
        train(tmp_path, small_config(home, **{**SMALL, "dataset": "clips", "augment": "flip"} | changes))


def test_a_clip_without_frames_is_refused(home: Path, tmp_path: Path) -> None:
    copy = draw(tmp_path / "clips", clips_each=1)
    for frame in (copy / "val" / "fake" / "fake0" / "low").iterdir():
        frame.unlink()
    with pytest.raises(BadInput, match=r"val_split: the clip .*fake0 has no frames"):
        train(tmp_path, small_config(copy, **SMALL, dataset="clips"))


def test_the_best_checkpoint_has_the_largest_auc() -> None:
    task = ClipClassification(2, 3)
    assert (task.metric, task.higher_is_better, task.group) == ("auc", True, 6)
