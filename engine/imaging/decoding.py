"""How the files of a data set become 8-bit pixels: the same for training, validation, prediction and caches."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gputrain.engine.configuration import value_range
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.configuration.value_range import ValueRange
from gputrain.engine.imaging import value_range_scan


class Decoding(NamedTuple):
    """Choices that hold for all images of a data set."""

    value_range: ValueRange | None = None
    """Values of deep grey images that become black and white; None: the full range of each file's type."""
    as_stored: bool = False
    """Whether orientation tags are ignored: annotations in pixels refer to the stored image."""

    @property
    def key(self) -> str:
        """For the cache's key."""
        return f"{self.value_range or 'bits'}{' as stored' if self.as_stored else ''}"


DEFAULT_DECODING = Decoding()
"""The full range of each file's type, upright."""


def range_of(config: RunConfig) -> tuple[ValueRange | None, tuple[str, ...]]:
    """The value range under the settings, and warnings; for ``auto`` the training images are sampled.

    Without readable training images (prediction on another machine) ``auto`` is the full range of each file's type.
    """
    data = config.data
    if data.value_range != value_range.AUTO:
        return value_range.parse(data.value_range), ()
    try:
        found = value_range_scan.scan(Path(data.data_dir).expanduser() / data.train_split)
    except OSError:
        return None, ()
    return found.value_range, found.warnings(found.value_range)
