"""CIFAR-10 in miniature: the files that torchvision's archive unpacks to, with a few images each."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def write(home: Path, per_batch: int = 12) -> tuple[npt.NDArray[np.uint8], list[int]]:
    """``home/cifar-10-batches-py/…`` as the original: protocol 2, rows of 3,072 bytes; returns the test images."""
    folder = home / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(4)
    dump(folder / "batches.meta", {"label_names": CLASSES, "num_vis": 3072, "num_cases_per_batch": per_batch})
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        labels = rng.integers(0, 10, per_batch).tolist()
        noise = rng.integers(0, 120, (per_batch, 3, 32, 32))
        noise[:, 0] += np.asarray(labels)[:, None, None] * 13
        data = noise.astype(np.uint8).reshape(per_batch, 3072)
        names = [f"{number}.png" for number in range(per_batch)]
        dump(folder / name, {"data": data, "labels": labels, "batch_label": name, "filenames": names})
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def dump(path: Path, content: object) -> None:
    """As Python 2 and an old numpy wrote the originals: pixels as text, arrays under numpy's former name."""
    if isinstance(content, dict) and "data" in content:
        content = content | {"data": _OldArray(content["data"])}
    path.write_bytes(pickle.dumps(content, protocol=2).replace(b"numpy._core", b"numpy.core"))


class _OldArray:
    def __init__(self, array: npt.NDArray[np.uint8]) -> None:
        self._array = array

    def __reduce__(self) -> tuple[object, ...]:
        made: Any = self._array.__reduce__()
        make, arguments, (version, shape, kind, order, pixels) = made
        return make, arguments, (version, shape, kind, order, pixels.decode("latin1"))
