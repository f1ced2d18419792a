"""The pictures in the documentation match the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.tui.screenshots import PICTURES, drawn
from helpers.tui.svg_text import text

from gputrain.tui.layout.key_bindings import KEYS, MONITOR_KEYS
from gputrain.tui.screens.launcher import launcher_keys
from gputrain.tui.widgets.key_bar import places

DOCS = Path(__file__).parents[3] / "docs"
SHOWN = {
    "launcher": [
        "● detected",
        "NVIDIA GeForce RTX 3090",
        "● balanced",
        "learning rate",
        "VRAM",
        "press Enter to start",
    ],
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
    "monitor-8-gpus": ["8 GPUs", "1 695 MHz", "PCIe", "blender --background"],
    "monitor-lost-gpu": ["LOST: it has fallen off the bus", "● monitoring"],
}
KEYS_OF = {"monitor": MONITOR_KEYS, "launcher": launcher_keys.KEYS}
REAL = {
    "dashboard": ["● training", "demo", "Validation accuracy"],
    "dashboard-lost-gpu": ["● training", "LOST: it has fallen off the bus", "2 GPUs"],
    "dashboard-half-a-core": ["● training", "CPU 0.5 of", "/2 GiB"],
    "dashboard-nodes-120x35": ["demo", "4 ranks on 2 nodes", "node-b 2–3"],
    "nodes-120x35": ["● training", "4 ranks on 2 nodes", "net ↓/↑ MB/s", "node-a", "node-b", "exchange  · < 5 %"],
}
"""Recorded from real runs; what they show otherwise depends on the machine."""


@pytest.mark.parametrize("name", PICTURES)
async def test_the_picture_shows_it(name: str) -> None:
    made = text(await drawn(name))
    for part in SHOWN[name]:
        assert part in made, part


def test_all_pictures_are_kept_and_have_the_keys_of_today() -> None:
    kept = {path.stem: path.read_text() for path in [DOCS / "dashboard.svg", *(DOCS / "screens").glob("*.svg")]}
    assert set(kept) == set(PICTURES) | set(REAL)
    for name, svg in kept.items():
        shown = text(svg)
        for part in (SHOWN | REAL)[name]:
            assert part in shown, (name, part)
        columns = round(max(float(x) for x in re.findall(r'<text [^>]*x="([\d.]+)" y="', svg)) / 12.2) + 1
        keys = KEYS_OF.get(name.partition("-")[0], KEYS)
        for _, _, key, labelled in places(keys, columns):
            expected = f" {key.shown} {key.label} " if labelled else f" {key.shown} "
            assert expected in f"{shown.splitlines()[-1]} ", (name, key.shown)


def test_pictures_fetch_nothing() -> None:
    for path in (DOCS / "dashboard.svg", *(DOCS / "screens").glob("*.svg")):
        assert "url(http" not in path.read_text(), path
        assert "@font-face" not in path.read_text(), path
