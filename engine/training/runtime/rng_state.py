"""Global RNG states of Python, NumPy and torch in the trainer, which a model's forward pass uses (dropout).

Batch order and augmentation are functions of (seed, epoch, index) and do not use them.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

_NUMPY_SEEDS = 1 << 32


def seed(number: int) -> None:
    """Seed all three."""
    random.seed(number)
    np.random.seed(number % _NUMPY_SEEDS)
    torch.manual_seed(number)


def rng_states() -> dict[str, Any]:
    """The states, as tensors and plain values that ``weights_only`` loading can read; without those of GPUs."""
    version, numbers, gauss = random.getstate()
    # The user may have replaced NumPy's bit generator by one of another kind, whose state is not kept.
    numpy_state = np.random.get_state(legacy=False)
    twister = isinstance(numpy_state, dict) and numpy_state["bit_generator"] == "MT19937"
    return {
        "torch_rng": torch.get_rng_state(),
        "python_rng": (version, torch.tensor(numbers), gauss),
        "numpy_rng": _numpy_state(numpy_state) if twister else None,
    }


def _numpy_state(numpy_state: Mapping[str, Any]) -> tuple[torch.Tensor, int, int, float]:
    key = torch.from_numpy(numpy_state["state"]["key"].astype(np.int64))
    return key, int(numpy_state["state"]["pos"]), int(numpy_state["has_gauss"]), float(numpy_state["gauss"])


def restore_rng_states(before: Mapping[str, Any]) -> None:
    """Restore what `rng_states` returned."""
    torch.set_rng_state(before["torch_rng"])
    # Old checkpoints have neither.
    if before.get("python_rng") is not None:
        version, numbers, gauss = before["python_rng"]
        random.setstate((version, tuple(numbers.tolist()), gauss))
    if before.get("numpy_rng") is not None:
        key, *rest = before["numpy_rng"]
        np.random.set_state(("MT19937", key.numpy().astype(np.uint32), *rest))


@contextlib.contextmanager
def preserved_rng(*, devices: bool = False) -> Iterator[None]:
    """Restore the RNG states at the end; with `devices`, those of GPUs too."""
    before = rng_states()
    gpu_states = torch.cuda.get_rng_state_all() if devices and torch.cuda.is_available() else []
    try:
        yield
    finally:
        restore_rng_states(before)
        if gpu_states:
            torch.cuda.set_rng_state_all(gpu_states)
