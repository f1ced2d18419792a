"""What a reader of record files says of one shard: its images, and what is damaged or left out."""

from __future__ import annotations

from typing import NamedTuple

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain

MOST_CLASSES = 1 << 24
LONGEST = 2**32 - 1
"""Larger lengths of images are stored as this; such an image is too large anyway."""
LABEL_NAMES = ("label", "labels", "cls", "class", "target", "fine_label")
"""Fields that `label_key: auto` takes for the class."""


class FoundImage(NamedTuple):
    """An image in a shard."""

    offset: int
    """Where its bytes begin in the file."""
    length: int
    label: int | str
    """Class number or name."""


class Damage(NamedTuple):
    """A place that cannot be read."""

    why: str


class LeftOut(NamedTuple):
    """A sample that is no labelled image."""

    kind: str


Found = FoundImage | Damage | LeftOut


def class_of(place: str, value: int | str) -> int | str:
    """`value` as a class: a number from 0, or a name. Raises BadInput with `place`, which names shard and sample."""
    if isinstance(value, str):
        if not value or len(value) > 200 or "\n" in value:
            raise BadInput(f"{place} has no class name: '{plain(value, 60)}'; label_key names the field of the class")
        return value
    if not 0 <= value < MOST_CLASSES:
        raise BadInput(
            f"{place} has class {value}, which is not from 0 to {MOST_CLASSES - 1:,}; unlabelled splits cannot be used"
        )
    return value
