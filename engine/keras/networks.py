"""Creates Keras models. Input: pixels from 0 to 255, (N, H, W, 3); output: logits (N, classes)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.keras_compatibility import MODELS, WEIGHTS, why_no_model
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.keras.checkpoint import weights_of
from gputrain.engine.keras.library import keras

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet mean and std, as in torchvision."""
_NORM_MOMENTUM = 0.9
"""As in torch. Keras' models have 0.99 and 0.999, too slow for short trainings."""
_APPLICATIONS = {"mobilenet_v2": "MobileNetV2", "resnet50_v2": "ResNet50V2", "efficientnet_b0": "EfficientNetB0"}
_UNSCALED = ("efficientnet_b0",)
"""Models with a built-in rescaling layer; the others expect pixels from -1 to 1."""


def build(config: RunConfig, classes: int) -> Any:
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
        _begin_with(network, weights)
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


def _begin_with(network: Any, file: str) -> None:
    """The weights of a checkpoint, but for a classifier of other classes. Raises BadInput."""
    found = weights_of(file)
    taken = 0
    # Random states are this run's own.
    for variable in [variable for variable in network.variables if "seed_generator" not in variable.path]:
        value = found.get(variable.path)
        if value is not None and tuple(value.shape) == tuple(variable.shape):
            variable.assign(value)
            taken += 1
    if taken < len(network.variables) // 2:
        raise BadInput(f"weights: {plain(file, 200)} does not fit {network.name}: {taken} of its variables are there")


def parameter_count(network: Any) -> int:
    """Trainable parameters."""
    return int(sum(variable.numpy().size for variable in network.trainable_variables))
