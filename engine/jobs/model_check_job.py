"""Checks a model with its weights before a run starts, in a child process with torch. Imports no torch itself."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec
from msgspec import Struct

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.processes.child_job import run_job

_CHILD = "gputrain.engine.training.models.model_check_child"
_SETTINGS = ("model", "weights", "weights_strict", "width", "image_size", "dataset", "mean", "std")
"""The result depends on these settings, and on the file of weights."""


class InputConfig(Struct, frozen=True, kw_only=True):
    """How images must be prepared for pretrained weights."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    origin: str
    """Where the values come from, for display."""
    size: int | None = None
    """Image size in pixels."""
    crop: float | None = None
    """Share of the resized image's short side that validation keeps."""
    interpolation: str = ""


class ModelOrder(Struct, frozen=True):
    """What the child checks."""

    config: RunConfig
    size_from_weights: bool
    """Check with the image size of the weights instead of the settings'."""


class ModelFacts(Struct, frozen=True):
    """What the child found."""

    refusals: tuple[str, ...] = ()
    forceable: tuple[str, ...] = ()
    """Those of `refusals` that ``weights_strict=false`` overrules."""
    warnings: tuple[str, ...] = ()
    input: InputConfig | None = None


def check_model(config: RunConfig, *, size_from_weights: bool = False) -> ModelFacts:
    """Faults of model, image size and weights, and the weights' input configuration.

    Takes seconds; results are kept for the life of this process. A child that fails is a warning.
    """
    values = settings.flatten(config)
    relevant = settings.build({name: values[name] for name in _SETTINGS})
    order = ModelOrder(relevant, size_from_weights)
    return _check(msgspec.json.encode(order), _version(Path(config.model.weights).expanduser()))


def _version(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=32)
def _check(order: bytes, _version: tuple[int, int]) -> ModelFacts:
    try:
        return run_job(_CHILD, msgspec.json.decode(order, type=ModelOrder), ModelFacts, _ignore)
    except BadInput as error:
        return ModelFacts(refusals=(str(error),))
    except RuntimeError as error:
        return ModelFacts(warnings=(f"model and weights could not be checked: {error}",))


def _ignore(text: str) -> None:
    """There is no progress to show."""
