"""Settings that depend on the weights: interpolation, ``mean`` and ``std`` (each ``auto``, one number or three)."""

from __future__ import annotations

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.numbers import number, why_no_number
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.sections.data_settings import AUTO, DataConfig, Interpolation

Rgb = tuple[float, float, float]

IMAGENET_MEAN: Rgb = (0.485, 0.456, 0.406)
IMAGENET_STD: Rgb = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's training images, as most models of torchvision expect them."""


def mean_std(data: DataConfig) -> tuple[Rgb, Rgb]:
    """Mean and standard deviation of the settings; ImageNet's for ``auto``."""
    mean = IMAGENET_MEAN if data.mean == AUTO else parse("mean", data.mean)
    return mean, IMAGENET_STD if data.std == AUTO else parse("std", data.std)


def interpolation_of(data: DataConfig) -> Interpolation:
    """The interpolation of the settings; bilinear for ``auto``."""
    return "bicubic" if data.interpolation == "bicubic" else "bilinear"


def checked(name: str, value: object) -> str:
    """The text of the setting `name` (``mean`` or ``std``) for a text, a number or numbers. Raises BadInput."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, list | tuple):
        value = ", ".join(str(one) for one in value)
    if not isinstance(value, str):
        raise BadInput(_must(name, value))
    return AUTO if value.strip() in ("", AUTO) else text_of(parse(name, value))


def text_of(values: Rgb) -> str:
    """The text of a setting for three numbers."""
    return ", ".join(f"{value:.9g}" for value in values)


def parse(name: str, text: str) -> Rgb:
    """The three numbers of a setting. Raises BadInput."""
    parts = text.strip().strip("[]()").replace(",", " ").split()
    read = [number(part) if len(part) < _LONGEST else None for part in parts]
    values = [float(one) for one in read if one is not None]
    if len(values) != len(parts):
        raise BadInput(_must(name, text) + why_no_number(parts[read.index(None)]))
    if len(values) == 1:
        values *= 3
    # Shares of the range of pixel values: a mean outside would shift all images beyond what a network has seen.
    sensible = all(0 <= value <= 1 and (value > 0 or name == "mean") for value in values)  # NaN is refused, too
    if len(values) != 3 or not sensible:
        raise BadInput(_must(name, text))
    return values[0], values[1], values[2]


_LONGEST = 60
"""Longer words are no mean."""


def _must(name: str, value: object) -> str:
    low = "0…1" if name == "mean" else "above 0 and at most 1"
    return (
        f"{name} must be auto or three numbers {low} for red, green and blue, or one number for all, "
        f"for example 0.5, 0.5, 0.5 or 0.5; got '{plain(str(value), 60)}'"
    )
