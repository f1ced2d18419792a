"""Image sizes that torchvision's models accept, known without importing torch."""

from __future__ import annotations

import re

from gputrain.engine.common.sanitize import plain

_MULTIPLES = ((re.compile(r"vit_\w+_(\d+)$"), 1), (re.compile(r"maxvit_t$()"), 224))
"""Models whose image size must be a multiple: of the patch in a ViT's name, or of a number."""
_LEAST = (
    (re.compile(r"alexnet$"), 63),
    (re.compile(r"inception_v3$"), 75),
    (re.compile(r"squeezenet1_0$"), 21),
    (re.compile(r"squeezenet1_1$"), 17),
    (re.compile(r"vgg\d+(_bn)?$"), 32),
    (re.compile(r"densenet\d+$"), 29),
    (re.compile(r"googlenet$"), 15),
)
"""Smallest image size by model, counted by forward passes on the meta device."""


def why_not_image_size(model: str, size: int) -> str:
    """Why a model of torchvision does not accept images of `size` × `size`; empty if it does, or if unknown."""
    for pattern, factor in _MULTIPLES:
        if match := pattern.match(model):
            step = int(match[1] or 1) * factor
            return _refusal(model, size, f"a multiple of {step}") if size % step else ""
    for pattern, least in _LEAST:
        if pattern.match(model) and size < least:
            return _refusal(model, size, f"at least {least}")
    return ""


def _refusal(model: str, size: int, must: str) -> str:
    return f"image_size: {plain(model, 60)} does not accept images of {size} × {size}: the size must be {must}"
