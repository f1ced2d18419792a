"""The folder of torch.compile's cache, and the key of remembered compile times.

Imports no torch: the environment variable must be set before torch reads it.
"""

from __future__ import annotations

import os

from gputrain.engine.common.files import cache_home, private_folder, state_home
from gputrain.engine.configuration.run_config import RunConfig


def set_compile_cache() -> None:
    """Set TORCHINDUCTOR_CACHE_DIR to a folder in the cache home, unless it is set.

    The default is in the folder of temporary files, which many machines empty at boot, and torch puts it into
    the environment on import: call this before importing torch. The compiler runs what it finds in its cache, so
    a folder that other users can write to is not used.
    """
    if "TORCHINDUCTOR_CACHE_DIR" in os.environ:
        return
    for folder in (cache_home() / "compiled", state_home() / "compiled"):
        if private_folder(folder):
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
            return


def key(config: RunConfig, precision: str, device: str) -> str:
    """The key under which the compile time of this model, shape, precision and device is remembered."""
    parts = (config.model.model, config.data.image_size, config.data.batch_size, precision)
    return " ".join(("compile", *map(str, parts), config.speed.compile_scope, device))
