"""Samples of the user's torch Dataset: loaded with per-sample seeds, checked, the same for any number of workers."""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import get_worker_info

from gputrain.engine.common import files
from gputrain.engine.common.sanitize import plain
from gputrain.engine.dataloading import random_resized_crop
from gputrain.engine.dataloading.batch_sampler import Indices
from gputrain.engine.training.runtime import rng_state
from gputrain.engine.user_code import import_function

_RANDOM_BITS = 1 << 32


@dataclass(slots=True)
class EpochOrder:
    """The indices that a sampler gave for an epoch; it may not give the same ones again.

    A new loader in mid-epoch, or a run that is resumed there, continues with them.
    """

    epoch: int = -1
    indices: Indices | None = None


@dataclass(frozen=True, slots=True)
class UserDataset:
    """A map-style data set: ``len(dataset)`` and ``dataset[index]``, which returns (image, target)."""

    dataset: Any
    sampler: Iterable[int] | None
    """Indices of an epoch in order; its ``set_epoch`` is called, if it has one. None: all, shuffled in training."""
    folder: str
    """Folder of the user's code; empty: the run's working directory."""
    epoch_order: EpochOrder = field(default_factory=EpochOrder)
    """The sampler's indices for the newest epoch."""


class UserSampleError(Exception):
    """The user's data set failed, or returned something other than (image, target)."""


@dataclass(frozen=True, slots=True)
class LoadedSample:
    """A sample."""

    image: torch.Tensor
    """uint8 (3, H, W), not yet normalised; or float32 of any shape, used unchanged."""
    target: torch.Tensor
    """int64 or float32."""
    index: int


def load_sample(user_dataset: UserDataset, seed: int, epoch: int, index: int) -> LoadedSample:
    """Load a sample, with the RNGs of Python, NumPy and torch seeded from (seed, epoch, index). Raises UserSampleError.

    So it depends on neither the worker nor earlier samples. In the trainer's process the RNG states are restored
    afterwards: the model uses them.
    """
    number = int(random_resized_crop.uniforms(seed, epoch, np.array([index]), 1)[0, 0] * _RANDOM_BITS)
    kept = rng_state.rng_states() if get_worker_info() is None else None
    random.seed(number)
    np.random.seed(number)
    # Only the CPU's generator: those of GPUs belong to the model.
    torch.default_generator.manual_seed(number)
    try:
        sample = user_dataset.dataset[index]
    except Exception as error:
        # The traceback goes to the log; the message names the line.
        traceback.print_exception(error)
        where = import_function.described(error, files.expand_user(user_dataset.folder or ".").absolute())
        raise UserSampleError(f"sample {index} failed {where}") from error
    finally:
        if kept is not None:
            rng_state.restore_rng_states(kept)
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        raise UserSampleError(f"sample {index} is {_kind(sample)}; a data set returns (image, target)")
    image, target = _image(sample[0], index), _target(sample[1], index)
    return LoadedSample(image, target, index)


def _image(value: Any, index: int) -> torch.Tensor:
    if isinstance(value, Image.Image):
        value = np.array(value.convert("RGB")).transpose(2, 0, 1)
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if not isinstance(value, torch.Tensor):
        raise UserSampleError(f"the image of sample {index} is {_kind(value)}; return a tensor, array or PIL image")
    if value.dtype == torch.uint8 and value.ndim == 3 and value.shape[0] == 3:
        return value
    return value.to(torch.float32)


def _target(value: Any, index: int) -> torch.Tensor:
    if isinstance(value, bool | int | float | np.generic | np.ndarray):
        value = torch.as_tensor(value)
    if not isinstance(value, torch.Tensor):
        raise UserSampleError(f"the target of sample {index} is {_kind(value)}; return a number, array or tensor")
    return value.to(torch.float32 if value.is_floating_point() else torch.int64)


def _kind(value: Any) -> str:
    length = f" of {len(value)}" if isinstance(value, tuple | list | dict | str) else ""
    return plain(f"a {type(value).__name__}{length}", 100)
