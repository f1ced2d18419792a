"""Runs every recipe from the command line for an epoch, on small data of its real layout:
``python tests/benchmarks/recipes.py [--json]``.

It does not measure speed, but shows the commands and their output. The data is noise, so the metrics only show that
they were computed (tests/engine/training checks each against a plain computation). That of Keras fails
where TensorFlow is not installed, and says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness

# Where the tests keep the layouts in miniature.
sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.training import tiny_cifar, tiny_clips, tiny_faces, training_tools

PACKAGES = ("gputrain-tui", "torch", "torchvision", "tensorflow", "keras")


def _folders(home: Path) -> Path:
    return training_tools.draw_images(home, per_class=8, side=256)


def _cifar(home: Path) -> Path:
    tiny_cifar.write(home)
    return home


def _custom(home: Path) -> Path:
    (home / "mine.py").write_text(_OWN)
    return home


_OWN = """
import torch
from torch import nn


class Squares(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        return torch.full((3, 32, 32), index % 2 * 200, dtype=torch.uint8), index % 2


def data(data_dir):
    return {"train": Squares(), "val": Squares(), "classes": ["dark", "bright"]}


def net(outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, outputs))
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """A recipe, its test data, and changes that make its epoch short."""

    recipe: str
    draw: Callable[[Path], Path] | None
    layout: str
    changes: tuple[str, ...] = ()


TRIALS = (
    Trial("demo", None, "drawn by itself", ("epochs=1",)),
    Trial("resnet50-imagefolder", _folders, "class folders of JPEG images"),
    Trial("efficientnet-imagefolder", _folders, "class folders of JPEG images"),
    Trial("imagenet-resnet50", _folders, "class folders of JPEG images"),
    Trial("mobilenet-v2", _folders, "class folders of JPEG images"),
    Trial("mobilenet-v2-keras", _folders, "class folders of JPEG images"),
    Trial("simple-cnn", _folders, "class folders of JPEG images"),
    Trial("cifar10", _cifar, "cifar-10-batches-py"),
    Trial("headpose-300wlp", tiny_faces.lp300w, "300W_LP and AFLW2000, .mat beside each picture"),
    Trial("headpose-biwi", tiny_faces.biwi, "01 … 04, frame_*_rgb.png and _pose.txt"),
    Trial("deepfake-convlstm", tiny_clips.draw, "clips of frames, streams high and low"),
    Trial("custom", _custom, "a person's own module", ("custom=mine:data", "model=mine:net")),
)


def run(trial: Trial, home: Path) -> dict[str, Any]:
    """Train for an epoch: the command as a person types it, with DATA for the data's place, and the run's summary."""
    changes = ["epochs=1", "batch_size=4", *trial.changes] if trial.draw else [*trial.changes]
    where: list[str] = []
    if trial.draw is not None:
        home.mkdir()
        where = ["--data", str(trial.draw(home))]
    command = ["gputrain-tui", "train", "--recipe", trial.recipe, *where, *changes]
    module = [sys.executable, "-m", "gputrain.tui.cli", *command[1:], "--json"]
    done = subprocess.run(module, capture_output=True, text=True, check=False, cwd=home if where else None)
    answer = {"command": " ".join(command).replace(str(home), "DATA"), "layout": trial.layout}
    if done.returncode:
        return answer | {"failed": done.stderr[-2000:] or done.stdout[-2000:]}
    return answer | {"summary": json.loads(done.stdout.splitlines()[-1])}


def _lines(answer: dict[str, Any]) -> str:
    if "failed" in answer:
        return f"$ {answer['command']}\n  failed: {answer['failed']}"
    return f"$ {answer['command']}    # {answer['layout']}\n  {json.dumps(answer['summary'])}"


def main() -> None:
    """Run the recipes and print the result of each, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="*", default=[], help="recipes to run")
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as temporary:
        for trial in TRIALS:
            if not options.only or trial.recipe in options.only:
                found[trial.recipe] = run(trial, Path(temporary) / trial.recipe)
                if not options.json:
                    print(_lines(found[trial.recipe]), flush=True)
    versions = harness.versions(PACKAGES)
    if options.json:
        print(harness.report(found, {}, {"versions": versions}))
    else:
        print(", ".join(f"{name} {version or '–'}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
