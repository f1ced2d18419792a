"""The resolution at which a raw cache stores images."""

from __future__ import annotations

from typing import Any

import pytest

from gputrain.engine.estimates.cache_resolution import resolution

IMAGENET: dict[str, Any] = {
    "image_size": 224,
    "val_resize": 256,
    "cache_resolution": 0,
    "augment": "crop_flip",
    "crop_min_scale": 0.08,
}


@pytest.mark.parametrize(
    ("changes", "train", "part", "expected"),
    [
        ({}, True, 1.0, 792),  # 224 / √0.08
        ({}, False, 1.0, 256),
        ({"augment": "flip"}, True, 1.0, 256),
        ({"crop_min_scale": 0.9}, True, 1.0, 256),
        ({"cache_resolution": 400}, True, 1.0, 400),
        ({"cache_resolution": 400}, False, 1.0, 256),
        ({"cache_resolution": 100}, True, 1.0, 256),
        ({"crop_min_scale": 0.35, "image_size": 32, "val_resize": 36}, True, 1.0, 55),
        ({"val_resize": 200}, False, 1.0, 224),
        ({"augment": "none"}, True, 0.4, 640),
        ({}, False, 0.5, 512),
    ],
)
def test_resolution_follows_the_smallest_crop(changes: dict[str, Any], train: bool, part: float, expected: int) -> None:
    assert resolution(IMAGENET | changes, train=train, part=part) == expected
