"""Creates Keras models. Input: pixels from 0 to 255, (N, H, W, 3); output: logits (N, classes)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.keras_compatibility import MODELS, WEIGHTS, why_no_model
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.keras.checkpoint import Arrays, weights_of
from gputrain.engine.keras.library import keras

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet mean and std, as in torchvision."""
_NORM_MOMENTUM = 0.9
"""As in torch. Keras' models have 0.99 and 0.999, too slow for short trainings."""
_APPLICATIONS = {"mobilenet_v2": "MobileNetV2", "resnet50_v2": "ResNet50V2", "efficientnet_b0": "EfficientNetB0"}
_UNSCALED = ("efficientnet_b0",)
"""Models with a built-in rescaling layer; the others expect pixels from -1 to 1."""

_NAMED = 3

Notice = Callable[[str, str], None]
"""Gets level and text of a message for the user."""


def build(config: RunConfig, classes: int, notice: Notice = lambda level, text: None) -> Any:
    """The ``keras.Model`` of the settings with its initial weights. Raises BadInput."""
    name, side = config.model.model, config.data.image_size
    if why := why_no_model(name):
        raise BadInput(why)
    pixels = keras.Input((side, side, 3), dtype="float32", name="pixels")
    if name == MODELS[0]:
        outputs = _simple_cnn(_scaled(pixels, name), classes, config.model.width)
    else:
        body = _application(name, side, classes, config)
        outputs = body(_scaled(pixels, name))
    network = keras.Model(pixels, outputs, name=name)
    for layer in _layers(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _NORM_MOMENTUM
    weights = config.model.weights
    if weights and weights != WEIGHTS and not config.resume_from:
        _load_weights(network, config, notice)
    return network


def _layers(network: Any) -> Iterator[Any]:
    for layer in network.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else (layer,)


def _scaled(pixels: Any, name: str) -> Any:
    # Always in float32: fp16 loses half a grey level.
    if name in _UNSCALED:
        return pixels
    if name == MODELS[0]:
        scale, offset = [1 / (255 * std) for std in _STD], [-mean / std for mean, std in zip(_MEAN, _STD, strict=True)]
        return keras.layers.Rescaling(scale, offset, dtype="float32", name="scaling")(pixels)
    return keras.layers.Rescaling(1 / 127.5, -1.0, dtype="float32", name="scaling")(pixels)


def _application(name: str, side: int, classes: int, config: RunConfig) -> Any:
    make = getattr(keras.applications, _APPLICATIONS[name])
    try:
        body = make(input_shape=(side, side, 3), weights=None, classes=classes, classifier_activation=None)
        if config.model.weights == WEIGHTS and not config.resume_from:
            # All layers but the classifier.
            own = make(input_shape=(side, side, 3), weights="imagenet", include_top=False)
            for layer in filter(lambda one: one.weights, own.layers):
                body.get_layer(layer.name).set_weights(layer.get_weights())
    except Exception as error:  # noqa: BLE001 - downloads and checks of Keras can raise any error
        raise BadInput(f"model: {name} cannot be created: {plain(str(error), 300)}") from None
    return body


def _simple_cnn(images: Any, classes: int, width: int) -> Any:
    """As `training.networks.simple_cnn`: four stages, each halving the image; global pooling; one linear layer."""
    layers = keras.layers
    found = layers.Conv2D(width, 5, 2, "same", use_bias=False, kernel_initializer="he_normal", name="stem")(images)
    found = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, name="stem_norm")(found))
    for number, channels in enumerate((width, 2 * width, 4 * width, 4 * width), start=1):
        name = f"stage{number}"
        conv = layers.Conv2D(channels, 3, 1, "same", use_bias=False, kernel_initializer="he_normal", name=name)
        found = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, name=f"{name}_norm")(conv(found)))
        found = layers.MaxPooling2D(2, 2, "same")(found)
    return layers.Dense(classes, name="head")(layers.GlobalAveragePooling2D()(found))


class Fit(NamedTuple):
    """How a checkpoint fits a network."""

    fitting: tuple[str, ...]
    """Paths of the variables that get values."""
    fault: str
    """Why it is refused; empty if it is not."""
    is_complete: bool
    """Whether only the classifier differs."""
    summary: str
    """How many variables come from the file, and which stay random."""


def fit(network: Any, stored: Arrays, config: RunConfig) -> Fit:
    """Compare the variables of a checkpoint with a network's; only the classifier may differ."""
    file, strict = plain(config.model.weights, 200), config.model.weights_strict
    # Random states belong to a run.
    variables = {v.path: v for v in network.variables if "seed_generator" not in v.path}
    found = {path: array for path, array in stored.items() if "seed_generator" not in path}
    broken = [path for path, array in found.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    found = {path: array for path, array in found.items() if path not in broken}
    fitting = tuple(path for path, v in variables.items() if path in found and found[path].shape == tuple(v.shape))
    head = network.layers[-1]
    head = head.layers[-1] if isinstance(head, keras.Model) else head
    classifier = {variable.path for variable in head.variables}
    missing = [path for path in variables if path not in found and path not in {*classifier, *broken}]
    reshaped = [path for path in variables if path in found and path not in {*fitting, *classifier}]
    unexpected = [path for path in found if path not in variables]
    parts = ((missing, "missing in the file"), (reshaped, "of another shape"), (unexpected, "not in the model"))
    faults = "; ".join(_counted(names, what) for names, what in parts if names)
    random = [path for path in variables if path not in fitting]
    leaves = f"leaves {len(random)} of {len(variables)} variables random"
    fault = ""
    if not fitting or (faults and strict):
        hint = f", or set weights_strict=false, which {leaves}" if fitting else ""
        fault = (
            f"weights: {file} does not fit {network.name}: {faults or 'no variable fits'}; "
            f"choose the model that the file was saved from{hint}"
        )
    elif broken and strict:
        names = _counted(broken, "with NaN or Inf")
        fault = f"weights: {file} has {names}; use other weights, or set weights_strict=false, which {leaves}"
    stays = f"; {len(random)} stay random: {', '.join(random[:_NAMED])}" if random else ""
    stays += ", …" if len(random) > _NAMED else ""
    summary = f"{len(fitting)} of {len(variables)} variables of {network.name} from {file}{stays}"
    return Fit(fitting, fault, not (faults or broken), summary)


def _load_weights(network: Any, config: RunConfig, notice: Notice) -> None:
    """Load the model of a checkpoint. Raises BadInput where it does not fit."""
    stored = weights_of(config.model.weights)
    found = fit(network, stored, config)
    if found.fault:
        raise BadInput(found.fault)
    variables = {variable.path: variable for variable in network.variables}
    for path in found.fitting:
        variables[path].assign(stored[path])
    notice("info" if found.is_complete else "warning", f"weights: {found.summary}")


def _counted(names: list[str], what: str) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} variables {what} ({', '.join(plain(name, 120) for name in names[:_NAMED])}{more})"


def parameter_count(network: Any) -> int:
    """Trainable parameters."""
    return int(sum(variable.numpy().size for variable in network.trainable_variables))
