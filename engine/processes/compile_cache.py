"""Where the compiler keeps its results, and what they are results of.

Imports no torch: the place must be named before torch reads it.
"""

from __future__ import annotations

import os

from gputrain.engine.common.files import cache_home, private_folder, state_home
from gputrain.engine.configuration.run_config import RunConfig


def set_compile_cache() -> None:
    """Let the compiler keep its results under the cache home, unless a person has named a folder for them.

    Its own default lies in the folder of temporary files, which many machines empty at each start. It puts
    that default into the environment as soon as its modules are imported: call this before torch is. What it
    finds there it runs, so a cache home that other users can write to is not used for it.
    """
    if "TORCHINDUCTOR_CACHE_DIR" in os.environ:
        return
    for folder in (cache_home() / "compiled", state_home() / "compiled"):
        if private_folder(folder):
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
            return


def key(config: RunConfig, precision: str, device: str) -> str:
    """What is compiled, by which the time that it took before is found."""
    parts = (config.model.model, config.data.image_size, config.data.batch_size, precision)
    return " ".join(("compile", *map(str, parts), config.speed.compile_scope, device))
