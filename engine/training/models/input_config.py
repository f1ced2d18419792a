"""Input configuration of pretrained weights: mean, std, interpolation, crop share and image size.

Sources: ``weights.transforms()`` of torchvision, ``pretrained_cfg`` of timm, settings in checkpoints of this program,
and what files of weights say about themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gputrain.engine.common import files
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import normalization, settings
from gputrain.engine.configuration.sections.data_settings import AUTO, INTERPOLATIONS
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.jobs.model_check_job import InputConfig
from gputrain.engine.model_catalog.torchvision_models import TIMM
from gputrain.engine.training.models import file_input, timm_models
from gputrain.engine.training.models.pretrained_weights import weights_entry
from gputrain.engine.training.models.stored_size import stored_size
from gputrain.engine.training.models.weights_file import WeightsFile, read_weights

_TRANSFORM_INPUT = ("googlenet", "inception_v3")
"""torchvision sets ``transform_input`` for the weights of these models, which maps ImageNet's mean and std to 0.5: with
mean and std of 0.5 the network needs no such step."""
_HALF = (0.5, 0.5, 0.5)
_TAKEN = ("mean", "std", "interpolation")
_OF_IMAGES = (*_TAKEN, "image_size", "val_resize", "crop_mode")


def of_weights(config: RunConfig, file: WeightsFile | None = None) -> InputConfig | None:
    """What the weights of the settings expect; None if they say nothing. Raises BadInput for unknown weights.

    `file` is the content of ``weights`` where it is a file that has been read already.
    """
    model, weights = config.model.model, config.model.weights
    if not weights:
        return None
    path = files.expand_user(weights)
    if path.is_file():
        return _of_file(model, path, file or read_weights(path, shapes_only=True))
    if ":" in model or model == "simple_cnn":
        return None
    if model.startswith(TIMM):
        return _timm(model.removeprefix(TIMM), "")
    return _torchvision(model, weights, "")


def _of_file(model: str, path: Path, file: WeightsFile) -> InputConfig:
    """From what the file says; the rest from the model's usual weights, which it most likely is or started from."""
    name = plain(path.name, 80)
    if file.settings:
        return _of_settings(file.settings, f"settings in {name}")
    usual = _default(model, name)
    if file.arguments and model.startswith(TIMM):
        # timm's training script takes what its arguments leave open from the model's configuration.
        usual = _timm(str(file.arguments.get("model") or model.removeprefix(TIMM)), "") or usual
    stored = stored_size(file.tensors, model)
    if stored is not None and not (usual.size and not usual.oblong and stored.admits(usual.size)):
        resize = stored.size * usual.resize // usual.size if usual.size and usual.resize else None
        origin = f"{usual.origin}; image_size of {name}: {stored.origin}"
        usual = msgspec.structs.replace(usual, size=stored.size, resize=resize, oblong="", origin=origin)
    told = file_input.of_file(path, file)
    return usual if told is None else file_input.merge(usual, *told)


def _of_settings(stored: Mapping[str, Any], origin: str) -> InputConfig:
    """From the settings of a run of this program."""
    data = settings.build({name: stored[name] for name in _OF_IMAGES if name in stored}).data
    mean, std = normalization.mean_std(data)
    # A checkpoint of an old version may lack it.
    sized = "image_size" in stored
    return InputConfig(
        mean=mean,
        std=std,
        origin=origin,
        size=data.image_size if sized else None,
        resize=data.val_resize if sized else None,
        crop_mode=data.crop_mode if sized and data.crop_mode != "center" else "",
        interpolation=normalization.interpolation_of(data),
    )


def _default(model: str, file: str) -> InputConfig:
    """Mean, std and interpolation of the model's usual weights, or ImageNet's."""
    found, note = None, f", assumed for {file}"
    if ":" not in model and model != "simple_cnn":
        name = model.removeprefix(TIMM)
        found = _timm(name, note) if model.startswith(TIMM) else _torchvision(model, "DEFAULT", note)
    if found is None:
        mean, std = normalization.IMAGENET_MEAN, normalization.IMAGENET_STD
        return InputConfig(mean=mean, std=std, origin=f"ImageNet's values{note}", assumed=True)
    # Image size and crop are those of the recipe: a file may have been fine-tuned at another size.
    return InputConfig(
        mean=found.mean, std=found.std, origin=found.origin, interpolation=found.interpolation, assumed=True
    )


def _torchvision(model: str, weights: str, note: str) -> InputConfig | None:
    from torchvision import models  # only where a model of torchvision's is asked for: it takes half a second

    if weights == "DEFAULT" and (model not in models.list_models(module=models) or not _has_weights(model)):
        return None
    entry = weights_entry(model, weights)
    preset: Any = entry.transforms()
    if not hasattr(preset, "mean"):
        return None
    mean, std = (_rgb(values) for values in (preset.mean, preset.std))
    if model in _TRANSFORM_INPUT:
        mean, std = _HALF, _HALF
    size, resize = int(preset.crop_size[0]), int(preset.resize_size[0])
    return InputConfig(
        mean=mean,
        std=std,
        origin=f"torchvision's {entry}{note}",
        size=size,
        resize=resize,
        interpolation=str(preset.interpolation.value),
    )


def _has_weights(model: str) -> bool:
    from torchvision import models

    return bool(models.get_model_weights(model).__members__)


def _timm(name: str, note: str) -> InputConfig | None:
    timm = timm_models.require_timm(name)
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is None:
        return None
    tag = f".{plain(config.tag, 40)}" if config.tag else ""
    return file_input.of_values(
        config.to_dict(), f"timm's configuration of {plain(config.architecture or name, 60)}{tag}{note}"
    )


def _rgb(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def resolve(config: RunConfig) -> RunConfig:
    """`config` with mean, std and interpolation of its weights in place of ``auto``. Raises BadInput."""
    if config.resume_from or not is_open(config):
        return config
    found = of_weights(config)
    if found is None or found.mean is None or found.std is None:
        return config
    return _with(config, found.mean, found.std, found.interpolation)


def is_open(config: RunConfig) -> bool:
    """Whether mean, std or interpolation are still to be taken from the weights."""
    return AUTO in (config.data.mean, config.data.std, config.data.interpolation)


def of_checkpoint(config: RunConfig, state: Mapping[str, Any]) -> RunConfig:
    """`config` with mean, std and interpolation that a checkpoint was trained with in place of ``auto``."""
    stored = state["settings"]
    data = settings.build({name: stored[name] for name in _TAKEN if name in stored}).data
    return _with(config, *normalization.mean_std(data), normalization.interpolation_of(data))


def _with(config: RunConfig, mean: normalization.Rgb, std: normalization.Rgb, interpolation: str) -> RunConfig:
    values = {
        "mean": normalization.text_of(mean),
        "std": normalization.text_of(std),
        "interpolation": interpolation if interpolation in INTERPOLATIONS else AUTO,
    }
    return settings.replace(config, **{n: v for n, v in values.items() if getattr(config.data, n) == AUTO})
