"""The pictures of the documentation are those of the program, and show what they are to show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from screenshots import PICTURES, drawn

SCREENS = Path(__file__).parents[2] / "docs" / "screens"
SHOWN = {
    "dashboard-200x50": ["● training", "bottleneck: workers", "NVIDIA GeForce RTX 3090", "Validation accuracy"],
    "dashboard-120x35": [
        "● training",
        "bottleneck: workers",
        "expected: 1 4",
        "NVIDIA GeForce RTX 3090",
        "Validation accuracy",
    ],
    "dashboard-80x24": ["● training", "expected: 1 4", "Too few data workers", "17/24 GiB"],
    "dashboard-8-gpus": ["8 GPUs", "19/24 GiB", "Loss"],
    "dashboard-8-gpus-80x24": ["19/24 GiB", "Too few data workers", "img/s"],
    "dashboard-no-gpu": ["no NVIDIA driver: training"],
    "dashboard-lost-gpu": ["LOST: GPU is lost"],
    "dashboard-half-a-core": ["CPU 0.5 of 64 cores", "3/4 GiB", "throttled 87 %", "quota"],
    "monitor-8-gpus": ["8 GPUs", "1 695 MHz", "PCIe", "blender --background"],
    "monitor-lost-gpu": ["LOST: GPU is lost", "● monitoring"],
}


@pytest.mark.parametrize("name", PICTURES)
async def test_the_picture_shows_it(name: str) -> None:
    made = text(await drawn(name))
    for part in SHOWN[name]:
        assert part in made, part


def test_all_pictures_are_kept() -> None:
    kept = {path.stem: path.read_text() for path in SCREENS.glob("*.svg")}
    assert set(kept) == set(PICTURES) == set(SHOWN)
    for name, picture in kept.items():
        for part in SHOWN[name]:
            assert part in text(picture), (name, part)


def text(picture: str) -> str:
    """What stands in an SVG, without its marks."""
    return re.sub(r"<[^>]*>", "", picture).replace("&#160;", " ")
