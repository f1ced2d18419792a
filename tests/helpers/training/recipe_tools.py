"""One epoch of a recipe on a few images, and its network's outputs for independently prepared images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gputrain.engine.configuration import settings
from gputrain.engine.events import Validated
from gputrain.engine.training.state import torch_checkpoint
from gputrain.profiles import catalog
from helpers.training.training_tools import Result, train

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALL: dict[str, Any] = {
    "device": "cpu",
    "epochs": 1,
    "num_workers": 2,
    "pin_memory": False,
    "precision": "fp32",
    "fused_optimizer": False,
    "lr": 1e-3,
    "warmup_epochs": 0,
}


def one_epoch(directory: Path, recipe: str, **changes: Any) -> tuple[Result, dict[str, float]]:
    """Train the recipe for an epoch with `changes`; returns the events, and the metrics of its validation."""
    directory.mkdir(exist_ok=True)
    chosen = catalog.load_recipe(recipe)
    result = train(directory, settings.build({**chosen.settings, **SMALL, **changes}))
    (validated,) = result.of(Validated)
    return result, validated.metrics


def loaded(network: nn.Module, directory: Path) -> nn.Module:
    """`network`, made by the test itself, with the weights that the run validated."""
    state = torch_checkpoint.load(str(directory), pytest.fail)
    network.load_state_dict(state["ema"] or state["model"], strict=True)
    return network.eval()


def outputs(network: nn.Module, pictures: Iterable[Image.Image], side: int, resize: int) -> torch.Tensor:
    """The network's outputs for centre crops, one at a time: Pillow's resize, float32, without our loader."""
    rows = []
    for picture in pictures:
        width, height = picture.size
        scale = resize / min(width, height)
        small = picture.convert("RGB").resize(
            (math.floor(width * scale), math.floor(height * scale)), Image.Resampling.BILINEAR
        )
        left, top = round((small.width - side) / 2), round((small.height - side) / 2)
        pixels = np.asarray(small.crop((left, top, left + side, top + side)), np.float32) / 255
        tensor = torch.from_numpy(((pixels - MEAN) / STD).transpose(2, 0, 1)).float()
        with torch.inference_mode():
            rows.append(network(tensor[None])[0])
    return torch.stack(rows)
