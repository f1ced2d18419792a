"""Reader of CIFAR-10 (Krizhevsky 2009) from the files that torchvision downloads: ``cifar-10-batches-py``."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets import folder_layouts
from gputrain.engine.datasets.image_set import ImageSet, image_set
from gputrain.engine.training.readers.reader import OnFound, OpenedDataset
from gputrain.engine.training.tasks.classification import Classification

_SIDE = 32
_RECONSTRUCT = np.empty(0).__reduce__()[0]


def _latin1(text: str, _codec: str) -> bytes:
    """`_codecs.encode` for latin1 alone: how Python 3 pickles bytes in protocol 2."""
    return text.encode("latin1")


def _frombuffer(buffer: bytes | bytearray, dtype: Any, shape: tuple[int, ...], order: str) -> npt.NDArray[Any]:
    """An array from its bytes: how NumPy pickles arrays in protocol 5. Raises TypeError for anything but plain data."""
    if not isinstance(buffer, bytes | bytearray) or not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise TypeError("an array is not made of bytes")
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)  # type: ignore[call-overload,no-any-return]


def _scalar(dtype: Any, content: Any = None) -> Any:
    """A number of NumPy: how it pickles single labels. Raises TypeError for anything but plain data."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject or not isinstance(content, bytes | str):
        raise TypeError("a number is not made of bytes")
    content = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(content, dtype, 1)[0]


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
}
"""Globals that the pickles may name: those of NumPy arrays. Any other could run code."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The object called `name`, if a NumPy array needs it. Raises UnpicklingError for all others."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of the data set")
        return _ALLOWED[module, name]


def read(config: RunConfig, on_found: OnFound) -> OpenedDataset:
    """See `Reader`. `data_dir` is the folder with the batches, or its parent; all images are loaded into memory."""
    folder = folder_layouts.cifar_folder(config.data.data_dir)
    names = _load(folder / folder_layouts.CIFAR_META).get("label_names")
    names = [_text(name) for name in names] if isinstance(names, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise BadInput(
            f"{plain(str(folder / folder_layouts.CIFAR_META), 300)}: has no label_names; unpack the data set anew"
        )
    train = _images(folder, folder_layouts.CIFAR_TRAIN, names)
    on_found(len(train))
    val = _images(folder, folder_layouts.CIFAR_TEST, names) if config.data.val_split else None
    return OpenedDataset(train, val, Classification(len(names), config.optim.label_smoothing))


def _images(folder: Path, files: Sequence[str], classes: list[str]) -> ImageSet:
    pixels: list[npt.NDArray[np.uint8]] = []
    labels: list[int] = []
    names: list[str] = []
    for file in files:
        data, batch_labels = _batch(folder / file, len(classes))
        pixels.append(data.reshape(-1, 3, _SIDE, _SIDE))
        labels += batch_labels
        names += [f"{file}/{number}" for number in range(len(batch_labels))]
    all_pixels = torch.from_numpy(np.concatenate(pixels)).permute(0, 2, 3, 1).contiguous()
    return dataclasses.replace(image_set(folder, names, labels, classes), pixels=all_pixels)


def _batch(path: Path, classes: int) -> tuple[npt.NDArray[np.uint8], list[int]]:
    """Pixels (n, 3072) and n labels of a file. Raises BadInput for other content."""
    content = _load(path)
    data, labels = content.get("data"), content.get("labels")
    if isinstance(labels, np.ndarray) and labels.ndim == 1:
        labels = list(labels)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * _SIDE**2:
        why = f"its data are not images of {_SIDE} × {_SIDE}"
    elif not isinstance(labels, list) or len(labels) != len(data):
        why = "it has not one label for each image"
    elif not all(isinstance(label, int | np.integer) and 0 <= label < classes for label in labels):
        why = f"not all of its labels are numbers from 0 to {classes - 1}"
    else:
        return data, [int(label) for label in labels]
    raise BadInput(f"{plain(str(path), 300)}: {why}; unpack the data set anew")


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
    except FileNotFoundError:
        raise BadInput(f"{plain(str(path), 300)} is missing; unpack the data set anew") from None
    except (OSError, pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError) as error:
        why = plain(str(error), 200)
        raise BadInput(f"{plain(str(path), 300)}: cannot be read ({why}); unpack the data set anew") from None
    if not isinstance(content, dict):
        raise BadInput(f"{plain(str(path), 300)}: holds a {type(content).__name__}; unpack the data set anew")
    # Who reads the files with encoding="bytes" and writes them again gets bytes for texts.
    return {_text(key): value for key, value in content.items()}


def _text(value: Any) -> Any:
    return value.decode("latin1") if isinstance(value, bytes) else value
