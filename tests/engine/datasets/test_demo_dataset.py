"""Demo data set, drawn in small: deterministic, and not separable by mean colour."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import cache_home
from gputrain.engine.datasets.demo import demo_dataset, demo_images

SMALL = {"train": 3, "val": 1}


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.jpg"))}


def test_it_is_the_same_for_any_number_of_processes(private_homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    first = content(demo_dataset.ensure_demo(lambda done, total: told.append((done, total)), counts=SMALL, processes=1))
    assert told[0] == (0, 40)
    assert told[-1] == (40, 40)
    monkeypatch.setenv("GPUTRAIN_CACHE", str(private_homes / "other"))
    second = content(demo_dataset.ensure_demo(lambda done, total: None, counts=SMALL, processes=2))
    assert first == second
    assert len(first) == 40
    assert {name.split("/")[1] for name in first} == set(demo_images.PATTERNS)
    sizes = {Image.open(io.BytesIO(jpeg)).size for jpeg in first.values()}
    assert len(sizes) > 2
    # What is there is not drawn again.
    demo_dataset.ensure_demo(lambda done, total: pytest.fail("drawn again"), counts=SMALL)


@pytest.mark.long
def test_mean_colours_do_not_predict_the_class() -> None:
    """A linear and a nearest-neighbour classifier on means and standard deviations, on unseen images."""
    features, labels = [], []
    for label, name in enumerate(demo_images.PATTERNS):
        for number in range(24):
            pixels = np.asarray(Image.open(io.BytesIO(demo_images.draw(name, "train", number))).reduce(4), np.float64)
            features.append([*pixels.mean((0, 1)), *pixels.std((0, 1)), 1.0])
            labels.append(label)
    x, y = np.array(features), np.array(labels)
    x[:, :-1] = (x[:, :-1] - x[:, :-1].mean(0)) / x[:, :-1].std(0)
    known = np.arange(len(y)) % 24 < 16
    weights = np.linalg.lstsq(x[known], np.eye(10)[y[known]], rcond=None)[0]
    linear = (np.argmax(x[~known] @ weights, axis=1) == y[~known]).mean()
    distances = ((x[~known][:, None] - x[known][None]) ** 2).sum(-1)
    nearest = (y[known][distances.argmin(1)] == y[~known]).mean()
    assert linear < 0.25
    assert nearest < 0.25


def test_a_killed_drawing_leaves_no_data_set(private_homes: Path) -> None:
    code = (
        "from gputrain.engine.datasets.demo import demo_dataset\n"
        "if __name__ == '__main__':\n"
        "    report = lambda done, total: print(done, flush=True)\n"
        "    demo_dataset.ensure_demo(report, counts={'train': 200}, processes=1)\n"
    )
    script = private_homes / "draw.py"
    script.write_text(code)
    child = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stdout is not None
    while int(child.stdout.readline()) < 20:
        pass
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    root = cache_home() / f"demo-v{demo_dataset.VERSION}"
    assert not root.exists()
    assert root.with_suffix(".drawing").exists()
    assert len(content(demo_dataset.ensure_demo(lambda done, total: None, counts=SMALL))) == 40
    assert not root.with_suffix(".drawing").exists()


def test_two_at_once_draw_once(private_homes: Path) -> None:
    """lockf locks belong to processes, so the second drawer is a process."""
    code = (
        "from gputrain.engine.datasets.demo import demo_dataset\n"
        "if __name__ == '__main__':\n"
        "    print('begin', flush=True)\n"
        f"    demo_dataset.ensure_demo(lambda done, total: print(done, flush=True), counts={SMALL}, processes=1)\n"
    )
    script = private_homes / "draw.py"
    script.write_text(code)
    child = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    told: list[int] = []
    root = demo_dataset.ensure_demo(lambda done, total: told.append(done), counts=SMALL, processes=1)
    theirs = child.communicate()[0].split()[1:]
    assert child.returncode == 0
    assert len(content(root)) == 40
    assert bool(told) != bool(theirs), "one draws, the other waits and draws nothing"


def test_drawing_stops_on_request(private_homes: Path) -> None:
    with pytest.raises(demo_dataset.DemoStopped):
        demo_dataset.ensure_demo(lambda done, total: None, stop=lambda: True, counts=SMALL)
    assert not (cache_home() / f"demo-v{demo_dataset.VERSION}").exists()


def test_an_unwritable_cache_folder_is_refused(private_homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (private_homes / "file").write_text("")
    monkeypatch.setenv("GPUTRAIN_CACHE", str(private_homes / "file"))
    with pytest.raises(BadInput, match="set GPUTRAIN_CACHE to a folder"):
        demo_dataset.ensure_demo(lambda done, total: None, counts=SMALL)
