"""Weights of 20 torchvision and 20 timm models in every wrapper: each loads completely or is refused by name."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from gputrain.engine.configuration import settings
from gputrain.engine.training.models import create_model, pretrained_weights, strict_loading, weights_file
from gputrain.engine.training.models.weights_file import read_weights

TORCHVISION = (
    "alexnet", "vgg11_bn", "resnet18", "resnet34", "resnext50_32x4d", "densenet121", "squeezenet1_1", "googlenet",
    "inception_v3", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0",
    "efficientnet_v2_s", "convnext_tiny", "regnet_y_400mf", "vit_b_16", "swin_t", "maxvit_t",
)  # fmt: skip
TIMM = (
    "resnet10t", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224",
    "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "convnext_atto", "efficientnet_b0",
    "mobilenetv3_small_100", "mixer_s32_224", "densenet121", "vgg11", "regnety_002", "levit_128s",
    "xcit_nano_12_p16_224", "poolformer_s12", "edgenext_xx_small", "repvgg_a0", "dpn48b", "eva02_tiny_patch14_224",
)  # fmt: skip
SIZES = {"inception_v3": 299, "swinv2_tiny_window8_256": 256, "eva02_tiny_patch14_224": 224}
MODELS = (*TORCHVISION, *(f"timm/{name}" for name in TIMM))

State = dict[str, torch.Tensor]
OLD = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))([12]\.(?:weight|bias|running_mean|running_var))$")
"""DenseNet's names before torchvision 0.3; changes no other model's."""


@functools.cache
def network(model: str, outputs: int) -> nn.Module:
    size = SIZES.get(model.removeprefix("timm/"), 224)
    config = settings.build({"model": model, "image_size": size})
    return create_model.on_meta(config, outputs)


def prefixed(prefix: str) -> Callable[[State], object]:
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


WRAPPERS: dict[str, Callable[[State], object]] = {
    "plain": dict,
    "DataParallel": prefixed("module."),
    "torch.compile of DDP": prefixed("_orig_mod.module."),
    "DDP of torch.compile": prefixed("module._orig_mod."),
    "Lightning": lambda state: {
        "state_dict": {**{f"model.{k}": v for k, v in state.items()}, "criterion.weight": torch.empty(3)},
        "hyper_parameters": {},
        "epoch": 3,
    },
    "timm resume": lambda state: {"epoch": 1, "arch": "x", "state_dict": {}, "state_dict_ema": state},
    "state_dict": lambda state: {"state_dict": state, "epoch": 1},
    "model": lambda state: {"model": state, "args": {}},
    "EMA file": lambda state: {"n_averaged": torch.tensor(3), **{f"module.{k}": v for k, v in state.items()}},
    "old DenseNet names": lambda state: {OLD.sub(r"\1.\2", name): tensor for name, tensor in state.items()},
    "torchvision reference": lambda state: {
        "model": {name: torch.zeros(1) for name in state},
        "model_ema": {"n_averaged": torch.tensor(2), **{f"module.{k}": v for k, v in state.items()}},
    },
}


def check(target: nn.Module, content: object, outputs: int) -> strict_loading.Match:
    """What `load_file` decides for a file with `content`, without its values."""
    tensors, _ = weights_file._state_dict(content, "file")  # type: ignore[arg-type]
    state, _ = pretrained_weights.convert(target, tensors, "file")
    return strict_loading.match(target, state, outputs)


@pytest.mark.long
@pytest.mark.parametrize("model", MODELS)
def test_weights_load_completely_from_every_wrapper(model: str) -> None:
    pytest.importorskip("timm")
    # Auxiliary classifiers are in torchvision's files.
    state = network(model, 1000).state_dict()
    target = network(model, 7)
    heads = strict_loading.classifier_modules(target, 7)
    assert heads, "the classifier is known"
    for name, wrap in WRAPPERS.items():
        found = check(target, wrap(state), 7)
        print(
            f"{model:40} {name:22} {len(found.fitting)} of {found.total} loaded, {len(found.random)} of the classifier"
        )
        assert found.is_complete, f"{name}: {strict_loading.explain(found)}"
        assert found.random, f"{name}: the classifier has other classes"
        assert all(tensor.startswith(tuple(f"{head}." for head in heads)) for tensor in found.random)
        assert check(network(model, 1000), wrap(state), 1000).random == (), "with the same classes nothing stays random"


@pytest.mark.long
@pytest.mark.parametrize("pair", [*pairwise(MODELS)], ids=lambda pair: f"{pair[0]}→{pair[1]}")
def test_weights_of_another_model_are_refused_by_name(pair: tuple[str, str]) -> None:
    pytest.importorskip("timm")
    state = network(pair[0], 1000).state_dict()
    target = network(pair[1], 7)
    for name, wrap in WRAPPERS.items():
        found = check(target, wrap(state), 7)
        assert not found.is_complete, name
        fault = pretrained_weights.why_unfit(found, pair[1], "file.pth", strict=True)
        assert fault.startswith("weights: file.pth ")
        assert pair[1] in fault
        if found.fitting:
            assert any(str(len(names)) in fault for names in (found.missing, found.reshaped, found.unexpected) if names)
        assert pretrained_weights.why_unfit(found, pair[1], "file.pth", strict=False) == (
            "" if found.fitting else fault
        )


def test_safetensors_load_as_torch_files(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    for model in ("resnet18", "densenet121"):
        state = {name: torch.zeros(tensor.shape) for name, tensor in network(model, 1000).state_dict().items()}
        for number, prefix in enumerate(("", "module.", "_orig_mod.module.", "model.")):
            file = tmp_path / f"{number}.safetensors"
            save_file({prefix + name: tensor for name, tensor in state.items()}, file)
            tensors = read_weights(file, shapes_only=True).tensors
            converted, _ = pretrained_weights.convert(network(model, 7), tensors, "file")
            assert strict_loading.match(network(model, 7), converted, 7).is_complete


def test_the_wrappers_are_read_from_real_files(tmp_path: Path) -> None:
    """`check` above skips the file; here each wrapper goes through one."""
    target = network("resnet18", 7)
    state = {name: torch.zeros(tensor.shape) for name, tensor in network("resnet18", 1000).state_dict().items()}
    for number, wrap in enumerate(WRAPPERS.values()):
        file = tmp_path / f"{number}.pth"
        torch.save(wrap(state), file)
        tensors = read_weights(file, shapes_only=True).tensors
        converted, _ = pretrained_weights.convert(target, tensors, "file")
        assert strict_loading.match(target, converted, 7).is_complete
