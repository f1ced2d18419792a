"""Where the compiler keeps its results. Imports no torch: the place must be named before torch reads it."""

from __future__ import annotations

import os

from gputrain.engine.files import cache_home


def keep_compiled() -> None:
    """Let the compiler keep its results under the cache home, unless a person has named a folder for them.

    Its own default lies in the folder of temporary files, which many machines empty at each start. It puts
    that default into the environment as soon as its modules are imported: call this before torch is.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_home() / "compiled"))
