"""Settings that have no meaning for what a data set teaches. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Off = Mapping[str, float | str]
"""Settings and the value that each must have."""

POSES: Off = {"mixup": 0.0, "cutmix": 0.0, "label_smoothing": 0.0, "auto_augment": "none"}
"""What blends labels, or turns images, would make the angles of heads wrong."""
CLIPS: Off = {"mixup": 0.0, "cutmix": 0.0}
"""Images are mixed one by one, not clip by clip."""
WITH_POSES, WITH_CLIPS = "does not go with the angles of heads", "does not go with clips"
_KNOWN = {"300wlp": (POSES, WITH_POSES), "biwi": (POSES, WITH_POSES), "clips": (CLIPS, WITH_CLIPS)}


def unsuitable_settings(values: Mapping[str, Any]) -> list[str]:
    """What of the settings does not go with their data set, with the remedy."""
    if values["dataset"] in _KNOWN:
        return list(conflicting_settings(values, *_KNOWN[values["dataset"]]))
    if values["val_share"]:
        known = ", ".join(_KNOWN)
        text = f"val_share: {values['dataset']} has no subjects to hold out (only {known} have)"
        return [f"{text}; set val_share=0, and val_split to a folder of images for validation"]
    return []


def conflicting_settings(values: Mapping[str, Any], off: Off, why: str) -> Iterator[str]:
    """The settings in `off` that have another value than there, in words."""
    for name, wanted in off.items():
        if values[name] != wanted:
            value = f"{wanted:g}" if isinstance(wanted, float) else wanted
            yield f"{name}: {why}; set {name}={value}"
