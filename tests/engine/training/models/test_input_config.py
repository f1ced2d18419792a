"""Mean, std, image size and crop come from the weights: against torchvision's presets and timm's configurations."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training.training_tools import draw_images, small_config, train
from torchvision import models
from torchvision.models import inception_v3

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import normalization, settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.training.inference.onnx_export import ExportedNetwork
from gputrain.engine.training.models import input_config
from gputrain.engine.training.models.pretrained_weights import weights_entry
from gputrain.engine.training.networks.simple_cnn import SimpleCNN
from gputrain.engine.training.runtime import device
from gputrain.engine.training.state import torch_checkpoint
from gputrain.engine.training.transforms.device_transforms import DevicePrefetcher

HALF = (0.5, 0.5, 0.5)


def config_of(model: str, weights: str = "DEFAULT", **changes: Any) -> RunConfig:
    return settings.build({"model": model, "weights": weights, "device": "cpu"} | changes)


def test_every_weights_entry_of_torchvision_has_the_values_of_its_transforms() -> None:
    count = 0
    for model in models.list_models(module=models):
        for member in models.get_model_weights(model).__members__:
            preset = weights_entry(model, member).transforms()
            found = input_config.of_weights(config_of(model, member))
            assert found is not None, model
            count += 1
            assert found.size == preset.crop_size[0]
            assert found.resize == preset.resize_size[0]
            assert found.interpolation == preset.interpolation.value
            if model not in ("googlenet", "inception_v3"):
                assert (found.mean, found.std) == (tuple(preset.mean), tuple(preset.std))
    assert count > 100


def test_inceptions_own_transform_of_the_input_is_a_mean_and_std_of_one_half() -> None:
    """torchvision sets ``transform_input`` for its weights: the network then expects ImageNet's mean and std."""
    found = input_config.of_weights(config_of("inception_v3"))
    assert found is not None
    assert (found.mean, found.std) == (HALF, HALF)
    images = torch.rand(2, 3, 75, 75)
    network = inception_v3(weights=None, init_weights=False, aux_logits=False, transform_input=True)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (normalization.IMAGENET_MEAN, normalization.IMAGENET_STD))
    right = network._transform_input((images - mean) / std)
    assert torch.allclose((images - 0.5) / 0.5, right, atol=1e-5)
    assert not torch.allclose((images - mean) / std, right, atol=0.1)


def test_timm_models_have_the_values_of_their_configurations() -> None:
    timm = pytest.importorskip("timm")
    from timm.data.config import resolve_data_config
    from timm.data.transforms_factory import create_transform
    from torchvision.transforms import Resize

    names = [name for name in timm.list_pretrained() if "vit_base_patch16" in name or "convnext_nano" in name]
    others = 0
    for name in (*names, "inception_v4", "dpn48b", "mobilenetv3_small_100"):
        right = resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())  # type: ignore[no-untyped-call]
        found = input_config.of_weights(config_of(f"timm/{name}"))
        assert found is not None
        assert (found.mean, found.std) == (tuple(right["mean"]), tuple(right["std"])), name
        assert found.size == min(right["input_size"][-2:])
        assert found.oblong == ("" if right["input_size"][-2] == right["input_size"][-1] else "1024 × 768")
        (resize,) = [one for one in create_transform(**right).transforms if isinstance(one, Resize)]
        assert found.resize == (resize.size if isinstance(resize.size, int) else min(resize.size))
        assert found.crop_mode == ("" if right["crop_mode"] == "center" else right["crop_mode"])
        assert found.interpolation == right["interpolation"]
        others += found.mean != normalization.IMAGENET_MEAN
    assert others > 10


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("0.5", HALF),
        ("0.48145466, 0.4578275, 0.40821073", (0.48145466, 0.4578275, 0.40821073)),
        ([0.1, 0.2, 0.3], (0.1, 0.2, 0.3)),
        ("[0.1 0.2 0.3]", (0.1, 0.2, 0.3)),
        (0.5, (0.5, 0.5, 0.5)),
    ],
)
def test_three_numbers_are_read_and_written_exactly(text: Any, right: tuple[float, ...]) -> None:
    config = settings.build({"mean": text, "std": text})
    assert normalization.mean_std(config.data) == (right, right)
    assert settings.build(settings.flatten(config)) == config


@pytest.mark.parametrize(
    "text", ["x", "1, 2", "0.1, 0.2, nan", "2", "127.5, 127.5, 127.5", [0.1, 0.2], {}, True, 2, -0.5, "0.5, -0.1, 0.5"]
)
def test_other_values_are_refused(text: Any) -> None:
    with pytest.raises(BadInput, match="mean must be auto or three numbers 0…1 for red, green and blue, or one number"):
        settings.build({"mean": text})
    with pytest.raises(BadInput, match="std must be auto or three numbers above 0"):
        settings.build({"std": "0, 1, 1"})
    with pytest.raises(BadInput, match="std must be auto or three numbers above 0"):
        settings.build({"std": text})


def test_batches_and_the_exported_graph_are_normalised_by_the_settings() -> None:
    config = config_of("simple_cnn", "", mean="0.1, 0.2, 0.3", std="0.4, 0.5, 0.6")
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    shape = (3, 1, 1)
    right = (pixels / 255 - torch.tensor((0.1, 0.2, 0.3)).view(shape)) / torch.tensor((0.4, 0.5, 0.6)).view(shape)
    compute = device.set_up(config, lambda level, text: None, 0)
    feed = DevicePrefetcher(config, compute, train=False)
    assert torch.allclose(pixels.float().sub_(feed._mean).mul_(feed._scale), right, atol=1e-5)
    network = SimpleCNN(3, 8).eval()
    with torch.inference_mode():
        assert torch.allclose(ExportedNetwork(network, config)(pixels), network(right), atol=1e-4)


def test_mean_and_std_are_kept_in_checkpoints_and_go_with_them(tmp_path: Path) -> None:
    """A run with mean 0.5; one that starts from its weights; prediction and export from the checkpoint alone."""
    images = draw_images(tmp_path / "images")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = small_config(images, mean="0.5", std="0.25", epochs=1)
    train(tmp_path / "first", first)
    entry = checkpoint_index.read_index(tmp_path / "first" / "checkpoints")[-1]
    file = tmp_path / "first" / "checkpoints" / entry.file
    found = input_config.of_weights(config_of("simple_cnn", str(file)))
    assert found is not None
    assert (found.mean, found.std) == (HALF, (0.25, 0.25, 0.25))
    second = small_config(images, weights=str(file), epochs=1)
    train(tmp_path / "second", second)
    state = torch_checkpoint.load(str(tmp_path / "second"), pytest.fail)
    assert (state["settings"]["mean"], state["settings"]["std"]) == ("0.5, 0.5, 0.5", "0.25, 0.25, 0.25")
    used = input_config.of_checkpoint(second, state)
    assert normalization.mean_std(used.data) == (HALF, (0.25, 0.25, 0.25))
    # A resumed run goes on with them, too.
    resumed = small_config(images, weights=str(file), epochs=2, resume_from=str(tmp_path / "second"))
    train(tmp_path / "second", resumed)
    state = torch_checkpoint.load(str(tmp_path / "second"), pytest.fail)
    assert state["settings"]["mean"] == "0.5, 0.5, 0.5"


def test_weights_with_nan_are_refused(tmp_path: Path) -> None:
    """torchvision's VGG16_Weights.IMAGENET1K_FEATURES has a classifier of NaN."""
    images = draw_images(tmp_path / "images")
    state = SimpleCNN(3, 8).state_dict()
    state["stem.0.weight"][0] = np.nan
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(BadInput, match=r"nan.pth has NaN or Inf in 1 tensors \(stem.0.weight\)"):
        train(tmp_path / "run", small_config(images, weights=str(tmp_path / "nan.pth")))


def saved(content: object, file: Path) -> str:
    torch.save(content, file)
    return str(file)


def vit(size: int, **options: Any) -> dict[str, torch.Tensor]:
    timm = pytest.importorskip("timm")
    state: dict[str, torch.Tensor] = timm.create_model("vit_tiny_patch16_224", img_size=size, **options).state_dict()
    return state


def test_a_file_of_timms_training_has_the_values_that_timm_trained_with(tmp_path: Path) -> None:
    """Saved by timm's own CheckpointSaver; the right values are those of timm's resolve_data_config."""
    timm = pytest.importorskip("timm")
    from timm.data.config import resolve_data_config
    from timm.utils.checkpoint_saver import CheckpointSaver

    network = timm.create_model("vit_tiny_patch16_224", img_size=160, num_classes=5)
    for given in ({}, {"mean": [0.1, 0.2, 0.3], "std": [0.4], "interpolation": "bilinear", "crop_pct": 0.8}):
        values = {"model": "vit_tiny_patch16_224", "img_size": 160, "input_size": None, "crop_pct": None, "mean": None}
        arguments = argparse.Namespace(**{**values, "std": None, "interpolation": "", "lr": 0.1, **given})
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        saver = CheckpointSaver(network, optimizer, args=arguments, checkpoint_dir=str(tmp_path))  # type: ignore[no-untyped-call]
        saver.save_checkpoint(1, metric=0.5)  # type: ignore[no-untyped-call]
        right = resolve_data_config(vars(arguments), model=network)  # type: ignore[no-untyped-call]
        found = input_config.of_weights(config_of("timm/vit_tiny_patch16_224", str(tmp_path / "last.pth.tar")))
        assert found is not None
        assert (found.mean, found.std, found.interpolation) == (right["mean"], right["std"], right["interpolation"])
        assert found.size == right["input_size"][-1] == 160
        assert found.resize == int(160 / right["crop_pct"])
        assert not found.assumed
        assert "arguments of the training in last.pth.tar" in found.origin


def test_a_file_of_torchvisions_training_script_has_its_sizes(tmp_path: Path) -> None:
    arguments = {"val_crop_size": 192, "val_resize_size": 208, "interpolation": "bicubic", "model": "resnet18"}
    content = {"model": models.resnet18().state_dict(), "args": argparse.Namespace(**arguments)}
    found = input_config.of_weights(config_of("resnet18", saved(content, tmp_path / "model_5.pth")))
    assert found is not None
    assert (found.size, found.resize, found.interpolation) == (192, 208, "bicubic")
    assert (found.mean, found.std) == (normalization.IMAGENET_MEAN, normalization.IMAGENET_STD)


def test_safetensors_have_the_configuration_in_their_metadata_or_beside_them(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    save_file = pytest.importorskip("safetensors.torch").save_file
    from timm.models import save_for_hf

    network = timm.create_model("vit_tiny_patch16_224", img_size=96, num_classes=5)
    values = {"mean": (0.2, 0.3, 0.4), "std": (0.1, 0.1, 0.1), "interpolation": "bilinear", "crop_pct": 0.75}
    save_for_hf(network, str(tmp_path / "hub"), model_config={"pretrained_cfg": {**values, "input_size": (3, 96, 96)}})
    told = {"pretrained_cfg": json.dumps({**values, "input_size": (3, 96, 96)})}
    save_file(network.state_dict(), tmp_path / "own.safetensors", metadata=told)
    (hub,) = [file for file in (tmp_path / "hub").iterdir() if file.suffix != ".json"]
    for file in (hub, tmp_path / "own.safetensors"):
        found = input_config.of_weights(config_of("timm/vit_tiny_patch16_224", str(file)))
        assert found is not None
        assert (found.mean, found.std, found.interpolation) == ((0.2, 0.3, 0.4), (0.1, 0.1, 0.1), "bilinear")
        assert (found.size, found.resize) == (96, 128)
        assert not found.assumed


@pytest.mark.parametrize("text", ["", "[]", "{", '{"architecture": 1, "pretrained_cfg": {"mean": "x", "std": [1, 2]}}'])
def test_a_configuration_that_makes_no_sense_is_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    found = input_config.of_weights(config_of("resnet18", saved(models.resnet18().state_dict(), tmp_path / "a.pth")))
    assert found is not None
    assert (found.mean, found.std, found.assumed) == (normalization.IMAGENET_MEAN, normalization.IMAGENET_STD, True)


def test_a_plain_file_has_the_size_of_its_positions_and_says_what_is_assumed(tmp_path: Path) -> None:
    found = input_config.of_weights(config_of("timm/vit_tiny_patch16_224", saved(vit(128), tmp_path / "a.pth")))
    assert found is not None
    assert (found.size, found.resize, found.assumed) == (128, None, True)
    assert "assumed for a.pth" in found.origin
    assert "image_size of a.pth: its position embedding (8 × 8 of 16 pixels)" in found.origin
    plain = input_config.of_weights(config_of("simple_cnn", saved(SimpleCNN(3, 8).state_dict(), tmp_path / "b.pth")))
    assert plain is not None
    assert plain.origin == "ImageNet's values, assumed for b.pth"


def test_interpolation_is_kept_in_checkpoints_predictions_and_exports(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images")
    first = small_config(images, interpolation="bicubic", epochs=1)
    (tmp_path / "run").mkdir()
    train(tmp_path / "run", first)
    entry = checkpoint_index.read_index(tmp_path / "run" / "checkpoints")[-1]
    file = tmp_path / "run" / "checkpoints" / entry.file
    found = input_config.of_weights(config_of("simple_cnn", str(file)))
    assert found is not None
    assert (found.interpolation, found.size, found.resize) == ("bicubic", 32, first.data.val_resize)
    assert found.origin == f"settings in {file.name}"
    state = torch_checkpoint.load(str(file), pytest.fail)
    assert state["settings"]["interpolation"] == "bicubic"
    # A checkpoint of an older version has no such setting: it was trained bilinearly.
    del state["settings"]["interpolation"]
    assert input_config.of_checkpoint(first.__class__(), state).data.interpolation == "bilinear"
