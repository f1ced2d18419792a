"""Image size of a file of weights from its position embedding: against the models of timm and torchvision."""

from __future__ import annotations

import pytest
import torch
from torchvision import models

from gputrain.engine.training.models.stored_size import stored_size

VITS = (
    "vit_tiny_patch16_224", "vit_tiny_patch16_384", "vit_base_patch32_384", "vit_small_patch14_dinov2",
    "vit_small_patch16_dinov3", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_384", "eva02_tiny_patch14_336",
    "vit_base_patch16_siglip_256", "vit_base_patch16_clip_384", "cait_xxs24_384", "vit_medium_patch16_reg4_gap_256",
    "samvit_base_patch16", "flexivit_small", "mixer_s32_224",
)  # fmt: skip
SWINS = (
    "swin_tiny_patch4_window7_224", "swin_base_patch4_window12_384", "swin_s3_tiny_224", "swinv2_tiny_window8_256",
)  # fmt: skip
OTHERS = ("volo_d1_224", "vit_small_r26_s32_224", "xcit_nano_12_p16_224", "levit_128s", "convnext_atto", "resnet18")


def shapes(name: str, **options: object) -> dict[str, torch.Tensor]:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        state: dict[str, torch.Tensor] = timm.create_model(name, num_classes=5, **options).state_dict()
    return state


@pytest.mark.parametrize("name", VITS)
def test_vits_of_timm_show_the_size_of_their_configuration_or_nothing(name: str) -> None:
    timm = pytest.importorskip("timm")
    found = stored_size(shapes(name), f"timm/{name}")
    if name in ("vit_small_patch16_dinov3", "mixer_s32_224"):
        assert found is None, "rotary, or no positions"
        return
    assert found is not None
    assert found.size == timm.get_pretrained_cfg(name).input_size[-1]
    wrapped = {f"module.{key}": tensor for key, tensor in shapes(name).items()}
    assert stored_size(wrapped, f"timm/{name}") == found


@pytest.mark.parametrize("name", [*SWINS, *OTHERS])
def test_other_models_show_the_right_size_or_nothing(name: str) -> None:
    timm = pytest.importorskip("timm")
    found = stored_size(shapes(name), f"timm/{name}")
    if name.startswith(("swin_tiny", "swin_base")):
        assert found is not None
    assert found is None or found.size == timm.get_pretrained_cfg(name).input_size[-1]


def test_models_built_for_another_size_show_that_one() -> None:
    assert getattr(stored_size(shapes("vit_tiny_patch16_224", img_size=160), "timm/x"), "size", 0) == 160
    with torch.device("meta"):
        state = models.vit_b_16(image_size=384, num_classes=3).state_dict()
    found = stored_size(state, "vit_b_16")
    assert found is not None
    assert found[:2] == (384, "its position embedding (24 × 24 of 16 pixels)")
    with torch.device("meta"):
        assert stored_size(models.swin_t().state_dict(), "swin_t") is None, "its window says nothing about the image"
        assert stored_size(models.resnet18().state_dict(), "resnet18") is None


@pytest.mark.long
def test_no_eighth_model_of_timm_shows_a_wrong_size() -> None:
    timm = pytest.importorskip("timm")
    shown = 0
    for name in timm.list_models()[::8]:
        config = timm.get_pretrained_cfg(name)
        try:
            state = shapes(name)
        except Exception:  # noqa: BLE001 - models that the meta device can't make
            continue
        found = stored_size(state, f"timm/{name}")
        if found is not None:
            shown += 1
            assert any(map(found.admits, config.input_size[-2:])), name
    assert shown > 15
