"""Settings that do not suit the task of a data set. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Off = Mapping[str, float | str]
"""Setting name → the value that it must have."""

POSES: Off = {"mixup": 0.0, "cutmix": 0.0, "label_smoothing": 0.0, "auto_augment": "none"}
"""Blended labels and rotated images would make head pose angles wrong."""
CLIPS: Off = {"mixup": 0.0, "cutmix": 0.0}
"""These mix single images, not whole clips."""
WITH_POSES, WITH_CLIPS = "cannot be used with head poses", "cannot be used with clips"
_KNOWN = {"300wlp": (POSES, WITH_POSES), "biwi": (POSES, WITH_POSES), "clips": (CLIPS, WITH_CLIPS)}


def unsuitable_settings(values: Mapping[str, Any]) -> list[str]:
    """The settings that cannot be used with their data set, with the remedy."""
    return list(conflicting_settings(values, *_KNOWN[values["dataset"]])) if values["dataset"] in _KNOWN else []


def conflicting_settings(values: Mapping[str, Any], off: Off, why: str) -> Iterator[str]:
    """A sentence for each setting in `off` with another value, with the remedy."""
    for name, wanted in off.items():
        if values[name] != wanted:
            value = f"{wanted:g}" if isinstance(wanted, float) else wanted
            yield f"{name}: {why}; set {name}={value}"
