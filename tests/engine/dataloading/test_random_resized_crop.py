from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import RandomResizedCrop

from gputrain.engine.dataloading import random_resized_crop
from gputrain.engine.dataloading.random_resized_crop import CropDraw

SAMPLES = 4000
# Two-sample Kolmogorov-Smirnov at the level of 0.001 for SAMPLES each: 1.95 · √(2/n).
KS_LIMIT = 1.95 * (2 / SAMPLES) ** 0.5


def distance(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """The largest distance between two empirical distributions (Kolmogorov-Smirnov)."""
    grid = np.concatenate([first, second])
    below = [np.searchsorted(np.sort(sample), grid, side="right") / len(sample) for sample in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


@pytest.mark.parametrize(("width", "height", "min_scale"), [(500, 375, 0.08), (40, 700, 0.25), (300, 300, 0.9)])
def test_boxes_are_distributed_as_torchvisions(width: int, height: int, min_scale: float) -> None:
    torch.manual_seed(1)
    image = torch.empty(3, height, width, dtype=torch.uint8)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, [min_scale, 1.0], [3 / 4, 4 / 3]) for _ in range(SAMPLES)], dtype=float
    )[:, [1, 0, 3, 2]]
    rows = random_resized_crop.uniforms(5, 0, np.arange(SAMPLES)).tolist()
    ours = np.array([random_resized_crop.random_crop_box(row, width, height, min_scale) for row in rows], dtype=float)
    for column, name in enumerate(("left", "top", "width", "height")):
        assert distance(ours[:, column], theirs[:, column]) < KS_LIMIT, name
    assert distance(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]) < KS_LIMIT


@given(
    draws=st.lists(
        st.floats(0, 1, exclude_max=True), min_size=random_resized_crop.DRAWS, max_size=random_resized_crop.DRAWS
    ),
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    min_scale=st.floats(0.001, 1),
)
@settings(deadline=None)
def test_boxes_are_inside_the_image(draws: list[float], width: int, height: int, min_scale: float) -> None:
    left, top, w, h = random_resized_crop.random_crop_box(draws, width, height, min_scale)
    assert 0 <= left <= left + w <= width
    assert 0 <= top <= top + h <= height
    assert w >= 1
    assert h >= 1


def test_a_strip_falls_back_to_its_centre_as_torchvisions() -> None:
    image = torch.empty(3, 10, 1000, dtype=torch.uint8)
    top, left, height, width = RandomResizedCrop.get_params(image, [1.0, 1.0], [3 / 4, 4 / 3])
    row = random_resized_crop.uniforms(0, 0, np.array([0]))[0].tolist()
    assert random_resized_crop.random_crop_box(row, 1000, 10, 1.0) == (left, top, width, height)


def test_numbers_depend_on_seed_epoch_and_index_alone() -> None:
    together = random_resized_crop.uniforms(7, 3, np.array([4, 9, 2]))
    assert np.array_equal(together[1], random_resized_crop.uniforms(7, 3, np.array([9]))[0])
    rows = [random_resized_crop.uniforms(s, e, np.arange(20)) for s in (0, 1, 2**63 - 1) for e in (0, 1)]
    assert len(np.unique(np.concatenate(rows))) == 6 * 20 * random_resized_crop.DRAWS


def test_numbers_are_uniform_and_unrelated() -> None:
    numbers = random_resized_crop.uniforms(0, 0, np.arange(20_000))
    assert numbers.min() >= 0
    assert numbers.max() < 1
    # Means of 20,000 uniforms: σ = 0.00204, five of which are allowed; correlations: σ = 0.0071.
    assert np.abs(numbers.mean(axis=0) - 0.5).max() < 0.0102
    correlations = np.corrcoef(np.concatenate([numbers[:-1], numbers[1:]], axis=1).T) - np.eye(
        2 * random_resized_crop.DRAWS
    )
    assert np.abs(correlations).max() < 0.036


def test_half_of_the_samples_are_mirrored() -> None:
    flips = random_resized_crop.draw_flips(3, 1, np.arange(10_000))
    assert flips.dtype == np.bool_
    assert 4750 < flips.sum() < 5250
    assert not np.array_equal(flips, random_resized_crop.draw_flips(3, 2, np.arange(10_000)))


@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 501), (256, 256), (100, 90)])
def test_the_centre_is_torchvisions(width: int, height: int) -> None:
    from torchvision.transforms import functional

    marks = torch.arange(height)[:, None] * 10_000 + torch.arange(width)[None, :]
    resized = functional.resize(marks[None].float(), [256], antialias=True)
    view = CropDraw("centre", 224, 256).geometry([], width, height)
    assert (view.resized_height, view.resized_width) == tuple(resized.shape[1:])
    theirs = functional.center_crop(resized, [224, 224])
    ours = resized[:, view.kept_top : view.kept_top + 224, view.kept_left : view.kept_left + 224]
    assert torch.equal(ours, theirs)


def test_squashed_images_lose_nothing_but_their_border() -> None:
    view = CropDraw("centre", 192, 213, squash=True).geometry([], 640, 480)
    assert view == (0, 0, 640, 480, 213, 213, 10, 10)
    assert CropDraw("centre", 300, 300, squash=True).geometry([], 640, 480) == (0, 0, 640, 480, 300, 300, 0, 0)


def test_a_centre_larger_than_the_resize_needs_no_padding() -> None:
    view = CropDraw("centre", 300, 256).geometry([], 640, 480)
    assert (view.resized_width, view.resized_height) == (400, 300)
    assert (view.kept_left, view.kept_top) == (50, 0)
