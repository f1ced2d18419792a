"""A run of version 0.1 (tests/fixtures/run-0.1), stopped after a checkpoint at step 9 of 36, and images like its own.

The run was made by version 0.1 itself; host, process names and boot id were replaced by general ones.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from gputrain.engine.common.files import state_home
from gputrain.engine.runs.run_directory import RunDir

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run-0.1"
NAME = "20261130-110446-old-run"


def add_old_run() -> RunDir:
    """A copy of the run in the state folder of this test."""
    folder = state_home() / "runs" / NAME
    shutil.copytree(FIXTURE, folder)
    folder.chmod(0o700)
    return RunDir(folder)


def write_images(root: Path) -> Path:
    """Write the run's data set, which is not in the repository: 24 + 8 PNG files of 2 classes. Returns `root`."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for name, colour in (("blue", (30, 30, 200)), ("red", (200, 30, 30))):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(np.array(colour) + rng.integers(-30, 30, (32, 32, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return root
