"""Caches, and loaders that read from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gputrain.engine.configuration import settings
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.training.cache import image_cache
from gputrain.engine.training.cache.image_cache import CachedSource, open_cache
from gputrain.engine.training.loader.make_loader import AnyLoader
from gputrain.engine.training.runtime.batch import Batch


def config(**changes: Any) -> RunConfig:
    values: dict[str, Any] = {"image_size": 32, "val_resize": 40, "batch_size": 4, "num_workers": 2, "cache": "disk"}
    # No epoch is begun before it is asked for.
    values["epochs"] = 1
    return settings.build(values | {"loader": "threads"} | changes)


def epoch(loader: AnyLoader, number: int = 0) -> list[tuple[list[int], bytes]]:
    def content(batch: Batch) -> bytes:
        return bytes(batch.images.contiguous().numpy().tobytes())

    return [(batch.indices.tolist(), content(batch)) for batch in loader.epoch(number)]


def opened(images: ImageSet, settings_: RunConfig) -> CachedSource:
    source = open_cache(images, settings_, train=True)
    assert source is not None
    return source


def own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test in place of the memory file system."""
    place = tmp_path / "shm"
    place.mkdir()
    monkeypatch.setattr(image_cache, "SHARED_MEMORY", place)
    return place
