"""Checks a model with its weights before a run starts, in a child process with the engine's library."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import Engine, RunConfig
from gputrain.engine.jobs import model_check_cache
from gputrain.engine.processes.child_job import run_job

_CHILDREN: dict[Engine, str] = {
    "torch": "gputrain.engine.training.models.model_check_child",
    "keras": "gputrain.engine.keras.model_check_child",
}
_SETTINGS = ("engine", "model", "weights", "weights_strict", "width", "image_size", "dataset")
"""The result depends on these settings, the number of outputs, and the file of weights."""


class InputConfig(Struct, frozen=True, kw_only=True):
    """How images must be prepared for pretrained weights."""

    mean: tuple[float, float, float] | None = None
    """None if the model itself normalises."""
    std: tuple[float, float, float] | None = None
    origin: str
    """Where the values come from, for display."""
    size: int | None = None
    """Image size in pixels."""
    resize: int | None = None
    """Short side of an image of `size` before the centre crop of validation."""
    interpolation: str = ""
    """Empty if it is not known."""
    crop_mode: str = ""
    """How validation makes images square, in timm's words, if not by a centre crop."""
    oblong: str = ""
    """Rows and columns of images that are not square; `size` is the shorter side."""
    assumed: bool = False
    """Mean and std are not the file's own, but those of the model's usual weights."""


class ModelOrder(Struct, frozen=True):
    """What the child checks."""

    config: RunConfig
    size_from_weights: bool
    """Check with the image size of the weights instead of the settings'."""
    outputs: int | None = None
    """Outputs of the network; None: not known."""


class ModelFacts(Struct, frozen=True):
    """What the child found."""

    refusals: tuple[str, ...] = ()
    forceable: tuple[str, ...] = ()
    """Those of `refusals` that ``weights_strict=false`` overrules."""
    warnings: tuple[str, ...] = ()
    input: InputConfig | None = None
    loaded: str = ""
    """What a run would load from the file of weights."""


def check_model(config: RunConfig, *, size_from_weights: bool = False, outputs: int | None = None) -> ModelFacts:
    """Faults of model, image size and weights, and the weights' input configuration.

    Takes seconds the first time; results are kept in the cache folder. A child that fails is a warning.
    """
    values = settings.flatten(config)
    relevant = settings.build({name: values[name] for name in _SETTINGS})
    order = msgspec.json.encode(ModelOrder(relevant, size_from_weights, outputs))
    name = model_check_cache.key(order, config.model.weights)
    kept = model_check_cache.load(name, ModelFacts)
    if kept is not None:
        return kept
    try:
        found = run_job(_CHILDREN[config.engine], msgspec.json.decode(order, type=ModelOrder), ModelFacts, _ignore)
    except BadInput as error:
        # Not kept: a missing package or a file that can't be read may change unnoticed.
        return ModelFacts(refusals=(str(error),))
    except RuntimeError as error:
        return ModelFacts(warnings=(f"model and weights could not be checked: {error}",))
    if model_check_cache.key(order, config.model.weights) == name:
        model_check_cache.save(name, found)
    return found


def _ignore(text: str) -> None:
    """There is no progress to show."""
