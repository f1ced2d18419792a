"""Reference speeds: published rates for the same GPU, training, batch size and preset, used as a forecast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputrain.engine.configuration import settings
from gputrain.engine.estimates.updates_per_epoch import Rate
from gputrain.engine.hardware.machine import Machine
from gputrain.profiles import catalog
from gputrain.profiles.schema import HardwareProfile, Preset, Recipe, Reference

_TRAINED = ("dataset", "model", "image_size", "clip_frames")
"""Settings that must equal those of the reference's recipe."""
_SIDE = 224
"""image_size of all references that name a model."""


def reference_rate(
    profile: HardwareProfile,
    preset: Preset,
    recipe: Recipe,
    values: Mapping[str, Any],
    machine: Machine,
    group: int = 1,
) -> Rate | None:
    """Images per second from the profile's references; None where none matches. `group`: images per sample."""
    if not catalog.fits(profile, machine):
        return None
    for figures in profile.references:
        if (figures.preset, figures.batch_size) != (preset.name, values["batch_size"]):
            continue
        if not _same_training(figures, recipe, values):
            continue
        if figures.images_per_second:
            return Rate(*figures.images_per_second, source=figures.source)
        if figures.iterations_per_second and figures.batch_size:
            low, high = (rate * figures.batch_size * group for rate in figures.iterations_per_second)
            return Rate(low, high, figures.source)
    return None


def _same_training(figures: Reference, recipe: Recipe, values: Mapping[str, Any]) -> bool:
    if figures.recipe:
        planned = {name: recipe.settings.get(name, settings.find(name).default) for name in _TRAINED}
        return figures.recipe == recipe.name and all(values[name] == value for name, value in planned.items())
    return bool(figures.model == values["model"] and values["image_size"] == _SIDE)
