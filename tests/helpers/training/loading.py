"""Loaders with the tests' settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gputrain.engine.configuration import settings
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.runtime.batch import Batch, BatchSource

SETTINGS = {"image_size": 32, "val_resize": 40, "batch_size": 4, "num_workers": 2, "loader": "threads", "seed": 5}


def make(
    images: ImageSet, *, train: bool = True, on_warning: Callable[[str], None] = lambda _: None, **changes: Any
) -> BatchSource:
    return make_loader(images, settings.build(SETTINGS | changes), train=train, pin=False, on_warning=on_warning)


def copied(batches: Iterator[Batch]) -> list[tuple[int, list[int], list[int], bytes]]:
    return [(b.number, b.indices.tolist(), b.labels.tolist(), b.images.contiguous().numpy().tobytes()) for b in batches]


def without_workers(images: ImageSet) -> list[tuple[int, list[int], list[int], bytes]]:
    """Epoch 3."""
    return copied(make(images, num_workers=0).epoch(3))
