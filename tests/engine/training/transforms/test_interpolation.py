"""Bicubic and bilinear resizing: against Pillow, and the transforms that torchvision and timm ship with weights."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from helpers.training.pictures import encoded, photograph
from helpers.training.training_tools import draw_images, opened
from PIL import Image
from torchvision import models

from gputrain.engine.configuration import settings
from gputrain.engine.configuration.sections.data_settings import INTERPOLATIONS, Interpolation
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.dataloading.random_resized_crop import CropDraw, CropGeometry
from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.imaging.decoding import Decoding
from gputrain.engine.training.cache.cache_forms import JpegForm, RawForm
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.models import input_config
from gputrain.engine.training.transforms import decode
from gputrain.engine.training.workers.fill_batch import source_of

PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
PLACES = [(0, 0, 297, 250), (33, 17, 150, 111), (10, 20, 40, 30), (5, 5, 96, 20), (100, 100, 96, 96)]
"""Boxes that are made smaller, larger, and both."""


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def blank(size: int) -> torch.Tensor:
    return torch.zeros((1, 3, size, size), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)[0]


def shown(out: torch.Tensor) -> npt.NDArray[np.int64]:
    return out.permute(1, 2, 0).numpy().astype(np.int64)


def box(place: tuple[int, int, int, int], size: int) -> CropGeometry:
    return CropGeometry(*place, size, size, 0, 0)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", INTERPOLATIONS)
def test_a_crop_equals_pillows(how: Interpolation, place: tuple[int, int, int, int]) -> None:
    image, out = photograph(297, 250), blank(96)
    decode.decode_into(png(image), "a.png", lambda width, height: box(place, 96), out, Decoding(interpolation=how))
    left, top, width, height = place
    cropped = image.crop((left, top, left + width, top + height))
    right, other = (np.asarray(cropped.resize((96, 96), PILLOW[one])).astype(int) for one in (how, _other(how)))
    assert np.abs(shown(out) - right).max() <= 2
    assert np.abs(shown(out) - right).mean() < 0.05
    if (width, height) != (96, 96):
        assert np.abs(shown(out) - other).mean() > 0.2, "the two differ on this image"


def _other(how: str) -> str:
    return "bicubic" if how == "bilinear" else "bilinear"


@pytest.mark.parametrize("ratio", [2, 2.5, 4, 5, 8, 16])
def test_scaled_decoding_keeps_bicubic_apart_from_bilinear(ratio: float) -> None:
    """libjpeg averages squares of pixels: at exactly the size of the result nothing would be left to weigh."""
    side = int(60 * ratio)
    data, geometry, out = encoded(photograph(side, side), quality=95), box((0, 0, side, side), 60), blank(60)
    decode.decode_into(data, "a.jpg", lambda width, height: geometry, out, Decoding(interpolation="bicubic"))
    stored = Image.open(io.BytesIO(data))
    bicubic, bilinear = (
        np.asarray(stored.resize((60, 60), PILLOW[one])).astype(int) for one in ("bicubic", "bilinear")
    )
    error = np.abs(shown(out) - bicubic).mean()
    assert error <= 1
    assert error < np.abs(bilinear - bicubic).mean() / 2


@pytest.mark.parametrize("form", [JpegForm, RawForm])
def test_caches_resize_as_the_settings_say(form: Any) -> None:
    image = photograph(400, 300)
    out: dict[str, torch.Tensor] = {}
    plain: dict[str, torch.Tensor] = {}
    for how in INTERPOLATIONS:
        decoding = Decoding(interpolation=how)
        kind = JpegForm(decoding) if form is JpegForm else RawForm(300, decoding)
        out[how], plain[how] = blank(64), blank(64)
        data, geometry = png(image), box((20, 30, 200, 180), 64)
        kind.render(kind.encode(data, "a.png"), lambda width, height: geometry, out[how])  # noqa: B023
        decode.decode_into(data, "a.png", lambda width, height: geometry, plain[how], decoding)  # noqa: B023
    for how in INTERPOLATIONS:
        near, far = (float((out[how].float() - plain[one].float()).abs().mean()) for one in (how, _other(how)))
        assert near < far, "a JPEG cache differs by its compression alone"


def test_only_caches_with_resized_pixels_depend_on_the_interpolation() -> None:
    bilinear, bicubic = Decoding(), Decoding(interpolation="bicubic")
    assert RawForm(256, bilinear).key != RawForm(256, bicubic).key
    assert JpegForm(bilinear).key == JpegForm(bicubic).key


def test_images_in_memory_are_resized_as_the_settings_say() -> None:
    image = photograph(32, 32)
    pixels = torch.from_numpy(np.asarray(image).copy())[None]
    for how in INTERPOLATIONS:
        images = dataclasses.replace(_no_files(), pixels=pixels, decoding=Decoding(interpolation=how))
        out = blank(48)
        source_of(images).render(0, lambda width, height: box((0, 0, 32, 32), 48), out, BatchAccounting())
        assert np.abs(shown(out) - np.asarray(image.resize((48, 48), PILLOW[how])).astype(int)).max() <= 2


def _no_files() -> ImageSet:
    return ImageSet("", b"", np.zeros(1, np.int64), np.zeros(1, np.int64), ("a",))


@pytest.mark.parametrize("split", ["train", "val"])
def test_training_and_validation_of_a_run_use_the_setting(tmp_path: Path, split: str) -> None:
    images = draw_images(tmp_path / "images", side=96)
    batches = {}
    for how in ("auto", *INTERPOLATIONS):
        config = settings.build(
            {"dataset": "imagefolder", "data_dir": str(images), "image_size": 32, "val_resize": 40, "batch_size": 4}
            | {"interpolation": how, "num_workers": 0, "epochs": 1, "augment": "crop_flip"}
        )
        data, _ = opened(config)
        found = data.train if split == "train" else data.val
        assert found is not None
        loader = make_loader(found, config, train=split == "train", pin=False)
        batches[how] = next(iter(loader.epoch(0))).images.clone()
    assert torch.equal(batches["auto"], batches["bilinear"])
    assert not torch.equal(batches["bicubic"], batches["bilinear"])


def validation(config: RunConfig, data: bytes) -> npt.NDArray[np.int64]:
    """An image as a run with the weights of `config` validates with it."""
    found = input_config.of_weights(config)
    assert found is not None
    assert found.size is not None
    assert found.resize is not None
    view = CropDraw("centre", found.size, found.resize, squash=found.crop_mode == "squash")
    out = blank(found.size)
    how: Any = found.interpolation
    decode.decode_into(
        data, "a.png", lambda width, height: view.geometry([], width, height), out, Decoding(interpolation=how)
    )
    return shown(out)


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        ("resnet18", "IMAGENET1K_V1"),
        ("efficientnet_b1", "IMAGENET1K_V1"),
        ("efficientnet_b3", "IMAGENET1K_V1"),
        ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1"),
        ("swin_t", "IMAGENET1K_V1"),
    ],
)
@pytest.mark.parametrize(("width", "height"), [(500, 375), (333, 500), (200, 180)])
def test_validation_images_equal_torchvisions_transforms(model: str, weights: str, width: int, height: int) -> None:
    image = photograph(width, height)
    preset: Any = models.get_model_weights(model)[weights].transforms()
    right = preset(image)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preset.mean, preset.std))
    found = validation(settings.build({"model": model, "weights": weights}), png(image))
    difference = np.abs(found - ((right * std + mean) * 255).round().permute(1, 2, 0).numpy())
    assert difference.max() <= 2
    assert difference.mean() < 0.1


@pytest.mark.parametrize(
    "model",
    [
        *("resnet50", "vit_tiny_patch16_224", "convnext_atto", "efficientnet_b0", "mixer_s32_224", "levit_128s"),
        # Their crop mode is squash, with and without a crop.
        *("dm_nfnet_f0", "convnext_tiny.in12k_ft_in1k_384"),
    ],
)
def test_validation_images_equal_timms_transforms(model: str) -> None:
    timm = pytest.importorskip("timm")
    from timm.data.config import resolve_data_config
    from timm.data.transforms_factory import create_transform

    image = photograph(500, 375)
    values = resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(model).to_dict())  # type: ignore[no-untyped-call]
    right: Any = create_transform(**values)(image)
    mean, std = (torch.tensor(values[name]).view(3, 1, 1) for name in ("mean", "std"))
    found = validation(settings.build({"model": f"timm/{model}", "weights": "DEFAULT"}), png(image))
    difference = np.abs(found - ((right * std + mean) * 255).round().permute(1, 2, 0).numpy())
    assert difference.max() <= 2
    assert difference.mean() < 0.1
