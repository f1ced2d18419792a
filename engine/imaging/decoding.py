"""How the files of a data set become 8-bit pixels: the same for training, validation, prediction and caches."""

from __future__ import annotations

from typing import NamedTuple

from gputrain.engine.configuration.sections.data_settings import Interpolation
from gputrain.engine.configuration.value_range import ValueRange


class Decoding(NamedTuple):
    """Choices that hold for all images of a data set."""

    value_range: ValueRange | None = None
    """Values of deep grey images that become black and white; None: the full range of each file's type."""
    as_stored: bool = False
    """Whether orientation tags are ignored: annotations in pixels refer to the stored image."""
    interpolation: Interpolation = "bilinear"
    """How crops are resized."""

    @property
    def key(self) -> str:
        """For the key of a cache of images at full size, which does not depend on the interpolation."""
        return f"{self.value_range or 'bits'}{' as stored' if self.as_stored else ''}"


DEFAULT_DECODING = Decoding()
"""The full range of each file's type, upright, resized bilinearly."""
