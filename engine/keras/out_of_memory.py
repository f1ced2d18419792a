"""Memory that runs out in TensorFlow, under names that the engine knows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from gputrain.engine.common.sanitize import plain
from gputrain.engine.keras.library import tf


class NoGpuMemoryError(RuntimeError):
    """The GPU's memory is too small."""


@contextlib.contextmanager
def out_of_memory_error() -> Iterator[None]:
    """What TensorFlow calls an exhausted resource is raised as NoGpuMemoryError or MemoryError."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        said = plain(str(error).partition("\n")[0], 300)
        if "GPU" in str(error):
            raise NoGpuMemoryError(
                f"the GPU's memory is too small ({said}); a smaller batch_size, model or image_size need less"
            ) from error
        raise MemoryError(said) from error
