"""A real run that trains until it is stopped."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from helpers.tui.terminals import COMMAND


@contextmanager
def live_run(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Train on a few images below `folder`. Yields the run's id and the environment in which commands find it."""
    env = {f"GPUTRAIN_{kind}": str(folder / kind.lower()) for kind in ("HOME", "CACHE", "CONFIG")}
    for number in range(16):
        place = folder / "images" / ("train", "val")[number % 4 == 3] / ("a", "b")[number % 2 ^ number // 4 % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (number * 16, 0, 0)).save(place / f"{number}.png")
    settings = ["device=cpu", "model=simple_cnn", "width=8", "image_size=16", "batch_size=4", "num_workers=0"]
    train = [*COMMAND, "train", "--detach", "--recipe", "demo", "--data", str(folder / "images")]
    done = subprocess.run(
        [*train, *settings, "epochs=100000"],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    run = done.stdout.strip()
    try:
        yield run, env
    finally:
        subprocess.run([*COMMAND, "stop", run, "--now"], env={**os.environ, **env}, check=True, capture_output=True)
