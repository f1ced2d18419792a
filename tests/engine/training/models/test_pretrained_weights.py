"""Loading pretrained weights: values equal to torchvision's and timm's own functions; partial fits are refused."""

from __future__ import annotations

import argparse
import os
import re
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import densenet, mnasnet0_5, vision_transformer

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.training.models import create_model, pretrained_weights, strict_loading
from gputrain.engine.training.models.weights_file import read_weights
from gputrain.engine.training.networks.simple_cnn import SimpleCNN
from gputrain.engine.training.runtime import device
from gputrain.engine.training.tasks.classification import Classification


class Notices(list[tuple[str, str]]):
    """Collects messages for the user."""

    def __call__(self, level: str, text: str) -> None:
        self.append((level, text))


def load(network: nn.Module, state: object, folder: Path, outputs: int = 3, *, strict: bool = True) -> Notices:
    file, notices = folder / "weights.pth", Notices()
    torch.save(state, file)
    pretrained_weights.load_file(network, file, "the_model", outputs, notices, strict=strict)
    return notices


def same(network: nn.Module, state: dict[str, torch.Tensor], but: str = "-") -> bool:
    return all(torch.equal(v, state[k]) for k, v in network.state_dict().items() if not k.startswith(but))


def filled(network: nn.Module, value: float = 1.0) -> dict[str, torch.Tensor]:
    return {k: torch.full_like(v, value) for k, v in network.state_dict().items()}


def small_vit(size: int) -> vision_transformer.VisionTransformer:
    return vision_transformer.VisionTransformer(size, 16, 2, 2, 32, 64, num_classes=3)


def test_only_the_classifier_may_differ(tmp_path: Path) -> None:
    network, source = SimpleCNN(3, 8), SimpleCNN(5, 8)
    before = network.head.weight.clone()
    ((level, text),) = load(network, source.state_dict(), tmp_path)
    assert same(network, source.state_dict(), but="head.")
    assert torch.equal(network.head.weight, before)
    assert level == "info"
    assert re.search(r"weights: \d+ of \d+ tensors of the_model from .*; 2 stay random: head.weight, head.bias$", text)


def test_a_partial_fit_is_refused_with_names_and_counts_and_loads_without_weights_strict(tmp_path: Path) -> None:
    network, state = SimpleCNN(3, 8), SimpleCNN(3, 8).state_dict()
    del state["stages.1.0.weight"], state["stages.2.0.weight"]
    state["stem.0.weight"] = torch.zeros(8, 3, 7, 7)
    state["extra.weight"] = torch.zeros(1)
    with pytest.raises(BadInput) as refused:
        load(network, state, tmp_path)
    text = str(refused.value)
    assert "2 tensors missing in the file (stages.1.0.weight, stages.2.0.weight)" in text
    assert "1 tensors of another shape (stem.0.weight: (8, 3, 7, 7) in the file, (8, 3, 5, 5) in the model)" in text
    assert "1 tensors not in the model (extra.weight)" in text
    assert "weights_strict=false, which leaves 3 of" in text
    ((level, told),) = load(network, state, tmp_path, strict=False)
    assert level == "warning"
    assert "3 stay random: stem.0.weight, stages.1.0.weight, stages.2.0.weight" in told
    assert torch.equal(network.head.weight, state["head.weight"])


def test_a_file_that_fits_nothing_is_refused_even_without_weights_strict(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"fits none of the .* tensors of the_model: it is of another model"):
        load(SimpleCNN(3, 8), {"a.weight": torch.zeros(2)}, tmp_path, strict=False)


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema"])
def test_ema_weights_are_preferred_and_reported(tmp_path: Path, key: str) -> None:
    network = SimpleCNN(3, 8)
    content = {"state_dict": filled(network, 1.0), "model": filled(network, 1.0), key: filled(network, 2.0)}
    ((_, text),) = load(network, content, tmp_path)
    assert same(network, filled(network, 2.0))
    assert f"(torch file; EMA weights, key {key})" in text


def test_prefixes_are_removed_repeatedly_and_at_any_depth(tmp_path: Path) -> None:
    network = SimpleCNN(3, 8)
    state = filled(network, 3.0)
    wrapped = {f"model._orig_mod.module.{k.replace('stages.1.', 'stages.1._orig_mod.')}": v for k, v in state.items()}
    ((_, text),) = load(network, {"state_dict": {**wrapped, "loss.weight": torch.ones(2)}}, tmp_path)
    assert same(network, state)
    assert "prefix 'model.module.' removed" in text


def test_two_networks_in_one_file_are_ambiguous_unless_one_is_an_average(tmp_path: Path) -> None:
    network = SimpleCNN(3, 8)
    one, two = filled(network, 1.0), filled(network, 2.0)

    def both(first: str, second: str) -> dict[str, torch.Tensor]:
        return {**{f"{first}.{k}": v for k, v in one.items()}, **{f"{second}.{k}": v for k, v in two.items()}}

    with pytest.raises(BadInput, match=r"several networks of this model \(student, teacher\)"):
        load(network, both("student", "teacher"), tmp_path)
    load(network, both("model", "ema_model"), tmp_path)
    assert same(network, two)
    with pytest.raises(BadInput, match=r"several state dicts \(student, teacher\); save the one you want alone"):
        load(network, {"student": one, "teacher": two}, tmp_path)


def test_types_that_weights_only_refuses_are_named_with_the_remedy(tmp_path: Path) -> None:
    content = {"model": SimpleCNN(3, 8).state_dict(), "args": types.SimpleNamespace(lr=0.1)}
    remedy = r"objects of types.SimpleNamespace, which could run code and are not loaded; .* torch.save\(torch.load\("
    with pytest.raises(BadInput, match=remedy):
        load(SimpleCNN(3, 8), content, tmp_path)
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(BadInput, match=remedy):
        read_weights(tmp_path / "old.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(BadInput, match=r"text.pth is not a file of weights"):
        read_weights(tmp_path / "text.pth")


@pytest.mark.parametrize("legacy", [False, True])
def test_arguments_of_training_scripts_load_unless_they_contain_other_objects(tmp_path: Path, legacy: bool) -> None:
    network = SimpleCNN(3, 8)
    content = {"state_dict": filled(network, 3.0), "args": argparse.Namespace(lr=0.1, mean=[0.5])}
    torch.save(content, tmp_path / "args.pth", _use_new_zipfile_serialization=not legacy)
    found = read_weights(tmp_path / "args.pth")
    assert found.arguments == {"lr": 0.1, "mean": [0.5]}
    assert found.tensors.keys() == network.state_dict().keys()
    content["args"] = argparse.Namespace(run=os.system)
    torch.save(content, tmp_path / "args.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(BadInput, match=r"objects of \S*system, which could run code and are not loaded") as caught:
        read_weights(tmp_path / "args.pth")
    assert "torch.save(torch.load(FILE, weights_only=False)['state_dict'], 'weights.pth')" in str(caught.value)


def test_integers_are_no_weights_of_a_network_of_real_numbers(tmp_path: Path) -> None:
    """A network quantized to 8 bits: torch would copy the integers silently."""
    network = SimpleCNN(3, 8)
    state = filled(network, 1.0)
    state["stem.0.weight"] = (state["stem.0.weight"] * 100).to(torch.int8)
    with pytest.raises(BadInput, match=r"1 tensors of another shape \(stem.0.weight: \(8, 3, 5, 5\) int8 in the file"):
        load(network, state, tmp_path)


def test_safetensors_are_read_by_suffix_and_by_content(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    network = SimpleCNN(3, 8)
    state = filled(network, 4.0)
    for name in ("model.safetensors", "model.bin"):
        save_file(state, tmp_path / name)
        other = SimpleCNN(3, 8)
        pretrained_weights.load_file(other, tmp_path / name, "the_model", 3, Notices())
        assert same(other, state)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "model.bin").read_bytes()[:50])
    with pytest.raises(BadInput, match="is not a safetensors file"):
        read_weights(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("counters", [False, True])
def test_densenets_old_names_are_torchvisions(tmp_path: Path, counters: bool) -> None:
    network = densenet.DenseNet(4, (2, 2), 8, num_classes=3)
    state = {k: torch.rand(v.shape) for k, v in network.state_dict().items()}
    state = {k: v.round().long() if "num_batches" in k else v for k, v in state.items()}
    state = {k: v for k, v in state.items() if counters or "num_batches" not in k}
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2.", k): v for k, v in state.items()}
    assert old.keys() != state.keys()
    load(network, old, tmp_path)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())


def test_mnasnet_loads_without_version_metadata(tmp_path: Path) -> None:
    network = mnasnet0_5(num_classes=3)
    state = filled(network, 2.0)
    load(network, state, tmp_path)
    assert same(network, state)


@pytest.mark.parametrize(("stored", "size"), [(96, 64), (64, 112)])
def test_position_embeddings_of_torchvision_are_interpolated_as_torchvision_does(
    tmp_path: Path, stored: int, size: int
) -> None:
    source, network = small_vit(stored), small_vit(size)
    source.encoder.pos_embedding.data.normal_()
    right = vision_transformer.interpolate_embeddings(size, 16, source.state_dict())
    load(network, source.state_dict(), tmp_path)
    assert network.encoder.pos_embedding.shape != source.encoder.pos_embedding.shape
    assert same(network, dict(right))


def test_old_names_of_torchvisions_mlp_blocks_load(tmp_path: Path) -> None:
    network = small_vit(64)
    state = filled(network, 2.0)
    old = {k.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v for k, v in state.items()}
    load(network, old, tmp_path)
    assert same(network, state)


def test_position_embeddings_of_timm_are_resampled_as_timm_does(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    from timm.layers.pos_embed import resample_abs_pos_embed

    small: dict[str, Any] = {"embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 3}
    source = timm.create_model("vit_tiny_patch16_224", img_size=96, **small)
    network = timm.create_model("vit_tiny_patch16_224", img_size=64, **small)
    source.pos_embed.data.normal_()
    load(network, source.state_dict(), tmp_path)
    assert torch.equal(network.pos_embed, resample_abs_pos_embed(source.pos_embed.detach(), (4, 4)))
    assert same(network, source.state_dict(), but="pos_embed")


@pytest.mark.filterwarnings("ignore::UserWarning")  # timm's interpolation of tables makes torch warn of its indexing
def test_relative_position_tables_of_timms_swin_are_resized_as_timm_does(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table

    small: dict[str, Any] = {"embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2), "num_classes": 3}
    source = timm.create_model("swin_tiny_patch4_window7_224", img_size=64, window_size=8, **small)
    network = timm.create_model("swin_tiny_patch4_window7_224", img_size=32, window_size=4, **small)
    load(network, source.state_dict(), tmp_path)
    name = "layers.0.blocks.0.attn.relative_position_bias_table"
    stored = source.state_dict()[name]
    right = resize_rel_pos_bias_table(stored, (4, 4), network.state_dict()[name].shape)
    assert stored.shape != network.state_dict()[name].shape
    assert torch.equal(network.state_dict()[name], right)


def test_deit3_layer_scale_is_converted_as_timm_does(tmp_path: Path) -> None:
    """timm.models.deit passes ``adapt_layer_scale`` to the conversion."""
    timm = pytest.importorskip("timm")
    small: dict[str, Any] = {"embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 3}
    network = timm.create_model("deit3_small_patch16_224", **small)
    state = filled(network, 2.0)
    old = {re.sub(r"\bls(\d)\.gamma$", r"gamma_\1", name): value for name, value in state.items()}
    assert old.keys() != state.keys()
    load(network, old, tmp_path)
    assert same(network, state)


def build(model: str, size: int, **changes: Any) -> nn.Module:
    config = settings.build({"model": model, "image_size": size, "device": "cpu", "dataset": "imagefolder"} | changes)
    compute = device.set_up(config, lambda level, text: None, 0)
    return create_model.build(config, Classification(3), compute)


@pytest.mark.parametrize(
    ("model", "size", "why"),
    [
        ("vit_b_32", 100, "Input shape indivisible by patch size"),
        ("vit_b_16", 8, "Input shape indivisible by patch size"),
        ("inception_v3", 64, ""),
        ("alexnet", 32, ""),
        ("maxvit_t", 100, "not divisible by partition size"),
        ("timm/vit_tiny_patch16_224", 8, "the image is smaller than a patch"),
    ],
)
def test_an_image_size_that_the_model_does_not_accept_is_refused(model: str, size: int, why: str) -> None:
    if model.startswith("timm/"):
        pytest.importorskip("timm")
    with pytest.raises(BadInput, match=f"image_size: {model} does not accept images of {size} × {size}: .*{why}"):
        build(model, size)


@pytest.mark.parametrize(
    ("model", "size"),
    [("vit_b_32", 64), ("swin_t", 64), ("resnet18", 32), ("maxvit_t", 448), ("timm/vit_tiny_patch16_224", 64)],
)
def test_models_are_built_for_the_image_size(model: str, size: int) -> None:
    if model.startswith("timm/"):
        pytest.importorskip("timm")
    network = build(model, size).eval()
    if size < 100:
        with torch.inference_mode():
            assert network(torch.zeros(1, 3, size, size)).shape == (1, 3)


def test_the_classifier_is_the_last_layer_or_the_one_timm_names() -> None:
    assert strict_loading.classifier_modules(SimpleCNN(3, 8), 3) == ("head",)
    assert strict_loading.classifier_modules(SimpleCNN(3, 8), 4) == (), "another number of outputs: no classifier"
