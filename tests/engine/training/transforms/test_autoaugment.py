from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training.pictures import picture
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandAugment, TrivialAugmentWide
from torchvision.transforms.v2 import functional as reference

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.dataloading import random_resized_crop
from gputrain.engine.training.runtime.batch import Batch
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.transforms import autoaugment, autoaugment_ops
from gputrain.engine.training.transforms.autoaugment import BINS, OPERATIONS
from gputrain.engine.training.transforms.device_transforms import DevicePrefetcher

CPU = Compute(torch.device("cpu"), "a CPU", "fp32")
SIDE = 40
BLANK = torch.zeros((1, 3, SIDE, SIDE), dtype=torch.uint8)
POLICIES = ("randaugment", "trivialaugment")
THEIRS: dict[str, Any] = {"randaugment": RandAugment(), "trivialaugment": TrivialAugmentWide()}
NAMES = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "colour": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "auto_contrast": "AutoContrast",
    "equalize": "Equalize",
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Images this small need no second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


EXACT = {"identity", "brightness", "posterize", "solarize", "auto_contrast", "equalize", "sharpness"}
"""Operations whose result does not depend on the order of additions."""


def config(policy: str = "trivialaugment", **changes: Any) -> RunConfig:
    values = {"image_size": SIDE, "augment": "none", "pin_memory": False, "seed": 11, "auto_augment": policy}
    return settings.build(values | changes)


def images(count: int, side: int = SIDE) -> torch.Tensor:
    """Channels last, as the loader's; the first three are of one colour, of two colours, and faint."""
    pixels = [torch.from_numpy(np.array(picture(side, side, number))) for number in range(count)]
    batch = torch.stack(pixels).permute(0, 3, 1, 2)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    batch[0] = 77
    batch[1] = torch.where(batch[1] > 100, 201, 14)
    batch[2] = 100 + batch[2] // 8
    return batch


def by_torchvision(batch: torch.Tensor, name: str, magnitude: float) -> torch.Tensor:
    """torchvision's result of an operation; `magnitude` is signed."""
    result: torch.Tensor = THEIRS["trivialaugment"]._apply_image_or_video_transform(
        batch, NAMES[name], magnitude, interpolation=InterpolationMode.BILINEAR, fill={}
    )
    return result


def by_us(batch: torch.Tensor, name: str, magnitude: float) -> torch.Tensor:
    """Our kernel's result of an operation on a batch, with our table of values."""
    count = len(batch)
    known = np.full(count, abs(magnitude))
    sign = np.full(count, -1.0 if magnitude < 0 else 1.0)
    values = autoaugment._values(name, known, sign, *batch.shape[2:])
    kernel = "affine" if name in autoaugment._AFFINE else name
    parts = () if name == "identity" else (autoaugment.PolicyPart(kernel, 0, count),)
    rows = torch.arange(count)[None]
    choices = autoaugment.AugmentChoices(rows, torch.from_numpy(values.astype(np.float32))[None], (parts,))
    return autoaugment.apply(batch, choices)


def test_operations_and_magnitudes_are_torchvisions() -> None:
    assert {NAMES[name] for name in OPERATIONS} == set(THEIRS["randaugment"]._AUGMENTATION_SPACE)
    for policy in POLICIES:
        ours = autoaugment.magnitudes(policy, 224, 224)
        for name in OPERATIONS:
            make, _ = THEIRS[policy]._AUGMENTATION_SPACE[NAMES[name]]
            theirs = make(BINS, 224, 224)
            assert (theirs is None) == (name not in ours), name
            if theirs is not None:
                expected = theirs.double().numpy() * (255 if name == "solarize" else 1)
                # Both truncate shifts to whole pixels, torchvision when it applies them.
                expected = np.trunc(expected) if name.startswith("translate") else expected
                assert np.array_equal(ours[name], expected), name


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("policy", POLICIES)
def test_each_operation_equals_torchvisions(name: str, policy: str) -> None:
    """At each magnitude and sign: the same bytes, or a difference of 1 for sums with another order."""
    batch = images(8)
    before = batch.clone()
    steps = autoaugment.magnitudes(policy, SIDE, SIDE).get(name, np.zeros(1))
    signs = (1, -1) if name in (*autoaugment._AFFINE, *autoaugment._BLENDS) else (1,)
    for step in steps[::3].tolist():
        for sign in signs:
            theirs_takes = step / 255 if name == "solarize" else step
            expected = by_torchvision(batch, name, sign * theirs_takes)
            found = by_us(batch, name, sign * step)
            difference = (found.int() - expected.int()).abs()
            assert difference.max() <= (0 if name in EXACT else 1), (step, sign)
            assert (difference > 0).float().mean() < 0.01
    assert torch.equal(batch, before), "the loader's memory is not written to"


def test_the_public_functions_agree() -> None:
    """The same through torchvision's public functional interface, with its units of magnitudes."""
    batch = images(6)
    pairs = [
        ("rotate", 20.0, lambda i: reference.rotate(i, 20.0, interpolation=InterpolationMode.BILINEAR)),
        (
            "shear_x",
            0.2,
            lambda i: reference.affine(
                i, 0.0, [0, 0], 1.0, [math.degrees(math.atan(0.2)), 0.0], InterpolationMode.BILINEAR, center=[0, 0]
            ),
        ),
        ("translate_y", -7.0, lambda i: reference.affine(i, 0.0, [0, -7], 1.0, [0.0, 0.0])),
        ("contrast", 0.5, lambda i: reference.adjust_contrast(i, 1.5)),
        ("colour", -0.9, lambda i: reference.adjust_saturation(i, 0.1)),
        ("sharpness", 0.9, lambda i: reference.adjust_sharpness(i, 1.9)),
        ("posterize", 3.0, lambda i: reference.posterize(i, 3)),
        ("solarize", 128.0, lambda i: reference.solarize(i, 128.0)),
        ("equalize", 0.0, reference.equalize),
        ("auto_contrast", 0.0, reference.autocontrast),
    ]
    for name, magnitude, function in pairs:
        expected = torch.stack([function(image) for image in batch])
        assert (by_us(batch, name, magnitude).int() - expected.int()).abs().max() <= 1, name


def made(indices: list[int], policy: str, *, size: int = SIDE, number: int = 0, **changes: Any) -> torch.Tensor:
    """The network's input for a batch, in 0…255."""
    feed = DevicePrefetcher(config(policy, **changes), CPU, train=True)
    at = torch.tensor(indices)
    batch = Batch(images(max(indices) + 1, size)[indices], at % 5, at, epoch=3, number=number)
    (moved,) = feed.batches(iter([batch]), StepClock(CPU))
    prepared = feed.prepare(moved).images
    return prepared.div(feed._scale).add(feed._mean).round()


@pytest.mark.parametrize("policy", POLICIES)
def test_each_image_gets_the_operations_drawn_for_it(policy: str) -> None:
    """Against torchvision's operations in the order of the rounds, from the same draws, one image at a time."""
    indices = [*range(48)]
    found = made(indices, policy)
    rounds = 2 if policy == "randaugment" else 1
    draws = random_resized_crop.uniforms(11, 3, np.array(indices), 3 * rounds, random_resized_crop.AUTO)
    tables = autoaugment.magnitudes(policy, SIDE, SIDE)
    seen: Counter[str] = Counter()
    for at, image in enumerate(images(48)):
        expected = image
        for number in range(rounds):
            operation, step, sign = draws[at, 3 * number : 3 * number + 3]
            name = OPERATIONS[int(operation * 14)]
            seen[name] += 1
            magnitude = float(tables.get(name, np.zeros(BINS))[9 if policy == "randaugment" else int(step * BINS)])
            if name == "solarize":
                magnitude /= 255
            elif name != "posterize" and sign < 0.5:
                magnitude = -magnitude
            expected = by_torchvision(expected, name, magnitude)
        difference = (found[at] - expected.float()).abs()
        # A second round enlarges what the first one rounded otherwise; equalising can do that most.
        assert difference.max() <= 16
        assert difference.mean() < 0.02
    assert len(seen) >= 12


@pytest.mark.parametrize("policy", POLICIES)
def test_changes_depend_on_the_image_alone(policy: str) -> None:
    many, other = made([*range(20)], policy), made([17, 3], policy, number=8)
    assert torch.equal(other[0], many[17])
    assert torch.equal(other[1], many[3])
    assert not torch.equal(many, images(20).float())


def test_each_operation_is_as_likely_as_any_other() -> None:
    chosen = autoaugment.draw(config(), 0, np.arange(14_000), BLANK)
    assert chosen is not None
    counts = {part.kernel: part.stop - part.start for part in chosen.parts[0]}
    assert set(counts) == set(autoaugment_ops.KERNELS)
    # Six standard deviations of a thousand are 183, of five thousand 340.
    assert all(abs(count - (5000 if kernel == "affine" else 1000)) < 345 for kernel, count in counts.items())
    assert sorted(chosen.rows[0].tolist()) == [*range(14_000)]
    assert autoaugment.draw(config("none"), 0, np.arange(4), BLANK) is None


def test_epochs_and_rounds_have_different_draws() -> None:
    def operations(epoch: int, **changes: Any) -> list[list[int]]:
        chosen = autoaugment.draw(config("randaugment", **changes), epoch, np.arange(64), BLANK)
        assert chosen is not None
        return chosen.rows.tolist()

    first = operations(0)
    assert len(first) == 2
    assert first[0] != first[1]
    assert operations(0) == first
    assert operations(1) != first
    assert operations(0, seed=12) != first
    assert len(operations(0, randaugment_ops=3)) == 3


def test_magnitude_zero_changes_no_geometry() -> None:
    """At magnitude 0 only operations without magnitude change anything, and solarize the brightest byte."""
    batch = images(30)
    for name in OPERATIONS[:11]:
        magnitude = 8.0 if name == "posterize" else 0.0
        assert torch.equal(by_us(batch, name, magnitude), batch), name


def test_images_of_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """RandAugment's shifts follow the size of the batch, which grows under progressive resizing."""
    small = autoaugment.magnitudes("randaugment", 8, 100)["translate_x"][30]
    assert (small, autoaugment.magnitudes("randaugment", 331, 8)["translate_y"][30]) == (45, 150)
    assert made([*range(6)], "randaugment", size=24).shape[2:] == (24, 24)


def test_validation_images_are_not_augmented() -> None:
    feed = DevicePrefetcher(config("randaugment"), CPU, train=False)
    at = torch.arange(6)
    (moved,) = feed.batches(iter([Batch(images(6), at, at, epoch=3, number=0)]), StepClock(CPU))
    assert moved.auto is None
    found = feed.prepare(moved).images.div(feed._scale).add(feed._mean).round()
    assert torch.equal(found, images(6).float())


def test_no_operation_synchronises_with_the_device() -> None:
    """Meta tensors: anything that needs a value, such as .item(), raises."""
    chosen = autoaugment.draw(config("randaugment"), 0, np.arange(400), BLANK)
    assert chosen is not None
    assert {part.kernel for part in chosen.parts[0]} == set(autoaugment_ops.KERNELS)
    meta = torch.device("meta")
    found = autoaugment.apply(images(400, 8).to(meta), chosen.to(meta, non_blocking=True))
    assert (found.shape, found.dtype) == ((400, 3, 8, 8), torch.uint8)
    with pytest.raises((RuntimeError, NotImplementedError)):
        found.amax().item()


@pytest.mark.parametrize("name", autoaugment._AFFINE)
def test_wide_and_high_images(name: str) -> None:
    """As custom data sets return them: shears keep the edge, rotations the centre."""
    for height, width in ((24, 41), (50, 17)):
        batch = torch.from_numpy(np.array(picture(width, height))).permute(2, 0, 1)[None]
        steps = autoaugment.magnitudes("randaugment", height, width)[name]
        theirs = THEIRS["randaugment"]._AUGMENTATION_SPACE[NAMES[name]][0](BINS, height, width)
        assert int(steps[-1]) == int(theirs[-1])
        found, expected = by_us(batch, name, float(steps[20])), by_torchvision(batch, name, float(steps[20]))
        assert (found.int() - expected.int()).abs().max() <= 1


def test_unsupported_images_are_refused() -> None:
    with pytest.raises(BadInput, match=r"auto_augment: .* gives float32 of \(3, 40, 40\); return uint8"):
        autoaugment.draw(config(), 0, np.arange(1), BLANK.float())
    with pytest.raises(BadInput, match=r"gives uint8 of \(1, 40, 40\)"):
        autoaugment.draw(config(), 0, np.arange(1), BLANK[:, :1])
