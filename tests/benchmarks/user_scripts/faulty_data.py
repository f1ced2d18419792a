"""A data set of real JPEGs with a fault, as a user would write one; nothing in it knows that it is watched."""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from torchvision.io import decode_jpeg
from torchvision.transforms.functional import resize

SIDE = 16
CLASSES = 10
_EPOCH = 100_000


def arguments() -> argparse.Namespace:
    """What the scripts take."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", help="JPEGs are read from below it; empty: random tensors in memory")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--step", type=float, default=0.0, help="seconds that the device computes on a batch")
    parser.add_argument("--layers", type=int, default=1, help="hidden layers of the model, which the CPU computes")
    parser.add_argument("--decodes", type=int, default=1, help="how often an image is decoded: what a sample costs")
    parser.add_argument("--locked", type=float, default=0.0, help="seconds that a sample holds a lock of all workers")
    parser.add_argument("--seconds", type=float, default=600.0, help="end the training after so long")
    parser.add_argument("--out", default=".", help="folder for what the framework writes")
    parser.add_argument("--traceml", action="store_true", help="traceml's edit of a plain loop: trace_step")
    options = parser.parse_args()
    options.persistent = options.workers > 0
    return options


def make(data: bytes, decodes: int) -> torch.Tensor:
    """The sample of one JPEG: decoded `decodes` times and made small."""
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    for _ in range(decodes):
        image = decode_jpeg(raw)
    sample: torch.Tensor = resize(image, [SIDE, SIDE], antialias=True).float().flatten() / 255
    return sample


class Images(Dataset[Any]):
    """An epoch of the folder's files again and again."""

    def __init__(self, folder: str, decodes: int, locked: float) -> None:
        self._files = sorted(str(path) for path in Path(folder).rglob("*.jpg")) if folder else []
        self._decodes = decodes
        self._locked = locked
        self._lock = multiprocessing.Lock()

    def __len__(self) -> int:
        return _EPOCH

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Sample and label."""
        if not self._files:
            return torch.full((3 * SIDE * SIDE,), index / _EPOCH), index % CLASSES
        data = Path(self._files[index % len(self._files)]).read_bytes()
        if self._locked:
            with self._lock:
                time.sleep(self._locked)
        return make(data, self._decodes), index % CLASSES


def images(options: argparse.Namespace) -> Images:
    """The data set that the arguments ask for."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Images(options.folder, options.decodes, options.locked)


def network(layers: int) -> torch.nn.Sequential:
    """A perceptron; `layers` decides how long the CPU computes on a batch."""
    hidden = [torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU()) for _ in range(layers)]
    return torch.nn.Sequential(torch.nn.Linear(3 * SIDE * SIDE, 256), *hidden, torch.nn.Linear(256, CLASSES))
