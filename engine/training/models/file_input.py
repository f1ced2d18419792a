"""Input configuration that weights carry: timm's ``pretrained_cfg``, arguments of timm's and torchvision's scripts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gputrain.engine.common.sanitize import plain
from gputrain.engine.jobs.model_check_job import InputConfig
from gputrain.engine.training.models.weights_file import WeightsFile

_CONFIG = "config.json"
"""timm writes it next to the weights that it saves for a model hub."""
_MAX_CONFIG = 1 << 22
"""Bytes."""
_CROP_PCT = 0.875
"""timm's default."""


def of_values(values: Mapping[str, Any], origin: str) -> InputConfig:
    """From a complete ``pretrained_cfg``. Raises ValueError or TypeError for values of another kind."""
    rows, columns = (int(side) for side in values["input_size"][-2:])
    size = min(rows, columns)
    return InputConfig(
        mean=rgb(values["mean"]),
        std=rgb(values["std"]),
        origin=origin,
        size=size,
        resize=_resize(size, values.get("crop_pct")),
        interpolation=str(values.get("interpolation") or ""),
        crop_mode=_mode(values),
        oblong="" if rows == columns else f"{rows} × {columns}",
    )


def _resize(size: int, crop: Any) -> int:
    """As in `timm.data.transforms_factory`."""
    return math.floor(size / (float(crop) if crop else _CROP_PCT))


def _mode(values: Mapping[str, Any]) -> str:
    mode = str(values.get("crop_mode") or "")
    return "" if mode == "center" else mode


def rgb(values: Any) -> tuple[float, float, float]:
    """Three numbers, or one for all. Raises ValueError or TypeError."""
    numbers = [float(value) for value in values]
    red, green, blue = numbers * 3 if len(numbers) == 1 else numbers
    return red, green, blue


def of_file(path: Path, file: WeightsFile) -> tuple[Mapping[str, Any], str] | None:
    """What a file says, in the words of ``pretrained_cfg``, and where; None if it says nothing."""
    name = plain(path.name, 80)
    if file.arguments:
        return _relevant(_of_arguments(file.arguments), f"arguments of the training in {name}")
    if (text := file.metadata.get("pretrained_cfg")) is not None:
        return _relevant(_json(text), f"pretrained_cfg in {name}")
    beside = path.parent / _CONFIG
    try:
        content = beside.read_text("utf-8") if beside.stat().st_size < _MAX_CONFIG else ""
    except (OSError, UnicodeDecodeError):
        return None
    cfg = _json(content)
    # Of timm only: other libraries have files of this name.
    if "architecture" not in cfg or not isinstance(cfg.get("pretrained_cfg"), dict):
        return None
    return _relevant(cfg["pretrained_cfg"], f"{_CONFIG} beside {name}")


def _of_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in arguments.items() if value is not None}
    # timm has img_size, torchvision's reference script val_crop_size and val_resize_size.
    for name in ("img_size", "val_crop_size"):
        if size := found.get(name):
            found.setdefault("input_size", (3, size, size))
    if "val_resize_size" in found:
        found["resize"] = found["val_resize_size"]
    return found


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _relevant(values: Mapping[str, Any], origin: str) -> tuple[Mapping[str, Any], str] | None:
    names = ("mean", "std", "interpolation", "input_size", "crop_pct", "crop_mode", "resize")
    found = {name: values[name] for name in names if values.get(name)}
    return (found, origin) if found else None


def merge(usual: InputConfig, told: Mapping[str, Any], origin: str) -> InputConfig:
    """`usual` with what a file says in `told`; values of another kind are left out."""
    changes: dict[str, Any] = {}
    try:
        for name in ("mean", "std"):
            if name in told:
                changes[name] = rgb(told[name])
        if "input_size" in told:
            rows, columns = (int(side) for side in told["input_size"][-2:])
            changes["size"] = min(rows, columns)
            changes["oblong"] = "" if rows == columns else f"{rows} × {columns}"
        size = changes.get("size") or usual.size
        if told.get("resize"):
            changes["resize"] = int(told["resize"])
        elif size and told.get("crop_pct"):
            changes["resize"] = _resize(size, told["crop_pct"])
        elif size and "size" in changes:
            # The same share of the image as at the usual size.
            known = usual.size and usual.resize
            changes["resize"] = size * (usual.resize or 0) // (usual.size or 1) if known else _resize(size, None)
    except (ValueError, TypeError, LookupError, ArithmeticError):
        return usual
    if told.get("interpolation") in ("bilinear", "bicubic"):
        changes["interpolation"] = told["interpolation"]
    changes["crop_mode"] = _mode(told)
    assumed = usual.assumed and not {"mean", "std"} <= changes.keys()
    rest = f"; the rest: {usual.origin}" if assumed else ""
    return msgspec.structs.replace(usual, **changes, assumed=assumed, origin=f"{origin}{rest}")
