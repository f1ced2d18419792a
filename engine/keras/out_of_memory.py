"""Translates TensorFlow's out-of-memory errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from gputrain.engine.common.sanitize import plain
from gputrain.engine.keras.library import tf


class NoGpuMemoryError(RuntimeError):
    """GPU memory is too small."""


@contextlib.contextmanager
def out_of_memory_error() -> Iterator[None]:
    """Raise ResourceExhaustedError as NoGpuMemoryError or MemoryError."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        said = plain(str(error).partition("\n")[0], 300)
        if "GPU" in str(error):
            raise NoGpuMemoryError(
                f"GPU memory is too small ({said}); use a smaller batch_size, model or image_size"
            ) from error
        raise MemoryError(said) from error
