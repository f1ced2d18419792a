"""Number of outputs of a network for a data set, from the names of its folders. For plans; no image is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets import folder_layouts, label_files

_FIXED = {"cifar10": 10, "300wlp": 3, "biwi": 3}
"""CIFAR-10's classes; yaw, pitch and roll of a head."""


def output_count(values: Mapping[str, Any]) -> int | None:
    """Outputs for the settings' data set; None if its folder can't be read, or the user's code decides."""
    if (fixed := _FIXED.get(values["dataset"])) is not None:
        return fixed
    if values["dataset"] not in ("demo", "imagefolder"):
        return None
    if not values["data_dir"]:
        if values["dataset"] != "demo":
            return None
        from gputrain.engine.datasets.demo import demo_images  # NumPy: not for every command

        return len(demo_images.PATTERNS)
    try:
        if (listed := label_files.class_count(values["data_dir"], values["train_split"], "train_split")) is not None:
            return listed
        folder = folder_layouts.split_folder(values["data_dir"], values["train_split"], "train_split")
        return len(folder_layouts.class_folders(folder, "train_split", None))
    except (BadInput, OSError):
        return None
