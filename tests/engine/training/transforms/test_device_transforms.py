"""Device transforms, compared with torchvision's functions and by counting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from gputrain.engine.configuration import settings
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.dataloading import augment_rng
from gputrain.engine.training.runtime.batch import Batch
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.transforms.device_transforms import MEAN, STD, DevicePrefetcher, PreparedBatch

CPU = Compute(torch.device("cpu"), "a CPU", "fp32")
SIDE = 32


def config(**changes: Any) -> RunConfig:
    return settings.build({"image_size": SIDE, "augment": "none", "pin_memory": False} | changes)


def batch(indices: list[int], number: int = 0) -> Batch:
    """Each image by its index, as the loader makes them: channels last."""
    images = torch.stack(
        [torch.randint(0, 256, (3, SIDE, SIDE), generator=torch.Generator().manual_seed(i)) for i in indices]
    )
    memory = images.to(torch.uint8).contiguous(memory_format=torch.channels_last)
    at = torch.tensor(indices)
    return Batch(memory, at % 5, at, epoch=3, number=number)


def prepared(indices: list[int], number: int = 0, *, train: bool = True, **changes: Any) -> PreparedBatch:
    feed = DevicePrefetcher(config(**changes), CPU, train=train)
    (moved,) = feed.batches(iter([batch(indices, number)]), StepClock(CPU))
    return feed.prepare(moved)


def normal(images: torch.Tensor) -> torch.Tensor:
    normalised: torch.Tensor = functional.normalize(images.float() / 255, list(MEAN), list(STD))
    return normalised


EVERY: dict[str, Any] = {"augment": "flip", "color_jitter": 0.4, "hue_jitter": 0.2, "random_erasing": 0.5}


def test_without_changes_images_are_normalised() -> None:
    found = prepared([4, 9, 2])
    torch.testing.assert_close(found.images, normal(batch([4, 9, 2]).images), atol=1e-5, rtol=1e-5)
    assert found.images.is_contiguous(memory_format=torch.channels_last)
    assert found.targets.tolist() == [4, 4, 2]
    assert found.partners is None


def test_changes_depend_on_the_image_alone() -> None:
    """Not on its position, its batch, or other images."""
    many, other = prepared([*range(20)], **EVERY), prepared([17, 3], number=8, **EVERY)
    torch.testing.assert_close(other.images[0], many.images[17], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(other.images[1], many.images[3], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(many.images, normal(batch([*range(20)]).images))


def test_validation_images_are_not_augmented() -> None:
    found = prepared([1, 2, 3], train=False, mixup=1.0, cutmix=1.0, **EVERY)
    torch.testing.assert_close(found.images, normal(batch([1, 2, 3]).images), atol=1e-5, rtol=1e-5)
    assert found.partners is None


def test_colour_jitter_equals_torchvisions() -> None:
    indices = [*range(6)]
    found = prepared(indices, color_jitter=0.4)
    factors = augment_rng.color_jitter_factors(config(color_jitter=0.4), 3, np.array(indices))
    assert factors.min() >= 0.6
    assert factors.max() <= 1.4
    for at, (brightness, contrast, saturation) in enumerate(factors.tolist()):
        image = batch(indices).images[at].float() / 255
        image = functional.adjust_brightness(image, brightness)
        image = functional.adjust_contrast(image, contrast)
        image = functional.adjust_saturation(image, saturation)
        torch.testing.assert_close(found.images[at], normal(image * 255), atol=2e-3, rtol=1e-3)


def test_hue_jitter_equals_torchvisions_and_follows_colour_jitter() -> None:
    indices = [*range(8)]
    turns = augment_rng.hue_shifts(config(hue_jitter=0.5), 3, np.array(indices))
    assert -0.5 <= turns.min() < -0.1
    assert 0.1 < turns.max() <= 0.5
    before = batch(indices)
    before.images[0, :, :4] = 77  # grey has no hue
    factors = augment_rng.color_jitter_factors(config(color_jitter=0.4), 3, np.array(indices))
    for jitter in (0.0, 0.4):
        feed = DevicePrefetcher(config(hue_jitter=0.5, color_jitter=jitter), CPU, train=True)
        (moved,) = feed.batches(iter([before]), StepClock(CPU))
        found = feed.prepare(moved).images
        for at, turn in enumerate(turns.tolist()):
            image = before.images[at].float() / 255
            if jitter:
                brightness, contrast, saturation = factors[at].tolist()
                image = functional.adjust_brightness(image, brightness)
                image = functional.adjust_contrast(image, contrast)
                image = functional.adjust_saturation(image, saturation)
            image = functional.adjust_hue(image, turn)
            torch.testing.assert_close(found[at], normal(image * 255), atol=4e-3, rtol=1e-3)


def test_random_erasing_sets_one_rectangle_in_half_of_the_images() -> None:
    indices = [*range(400)]
    boxes = augment_rng.erasing_boxes(config(random_erasing=0.5), 3, np.array(indices), SIDE)
    found, before = prepared(indices, random_erasing=0.5).images, normal(batch(indices).images)
    shares = []
    for image, original, (left, top, right, bottom) in zip(found, before, boxes.astype(int), strict=True):
        inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        inside[top:bottom, left:right] = True
        assert bool((image[:, inside] == 0).all())
        torch.testing.assert_close(image[:, ~inside], original[:, ~inside], atol=1e-5, rtol=1e-5)
        shares.append(float(inside.float().mean()))
    blanked = [share for share in shares if share]
    # Five standard deviations of a coin thrown 400 times are 50.
    assert 150 <= len(blanked) <= 250
    assert min(blanked) > 0.01
    assert max(blanked) < 0.36


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0])
def test_shares_are_beta_distributed(alpha: float) -> None:
    rows = np.random.default_rng(0).random((4000, 128))
    shares = np.array([augment_rng.beta_sample(alpha, row.tolist()) for row in rows])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)


def test_mixup_blends_an_image_with_the_one_before_it() -> None:
    found, plain = prepared([5, 6, 7], mixup=1.0), prepared([5, 6, 7])
    assert found.partners is not None
    assert found.partners.tolist() == [7 % 5, 5 % 5, 6 % 5]
    expected = found.share * plain.images + (1 - found.share) * plain.images.roll(1, 0)
    torch.testing.assert_close(found.images, expected, atol=1e-5, rtol=1e-5)


def test_cutmix_weights_are_the_share_of_pixels() -> None:
    plain = prepared([5, 6, 7])
    shares = set()
    for number in range(10):
        found = prepared([5, 6, 7], number, cutmix=1.0)
        own = (found.images == plain.images).all(1).float().mean((1, 2))
        torch.testing.assert_close(own, torch.full((3,), found.share), atol=1e-4, rtol=1e-4)
        foreign = (found.images == plain.images.roll(1, 0)).all(1).float().mean((1, 2))
        torch.testing.assert_close(foreign, torch.full((3,), 1 - found.share), atol=1e-4, rtol=1e-4)
        shares.add(found.share)
    assert len(shares) > 5, "each batch draws its own"


def test_with_mixup_and_cutmix_each_batch_gets_one_of_them() -> None:
    kinds = [augment_rng.draw_mix_parameters(config(mixup=0.2, cutmix=1.0), 0, number, SIDE) for number in range(200)]
    blended = sum(mix is not None and mix.box is None for mix in kinds)
    assert 60 < blended < 140


def test_split_parts_cover_the_batch() -> None:
    found = prepared([1, 2, 3, 4, 5], mixup=1.0)
    parts = list(found.split(2))
    assert [len(part.targets) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.images for part in parts]), found.images)
    assert torch.equal(torch.cat([part.partners for part in parts if part.partners is not None]), found.partners)  # type: ignore[arg-type]
    assert {part.share for part in parts} == {found.share}
