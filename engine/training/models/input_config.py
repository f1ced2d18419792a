"""Input configuration of pretrained weights: mean, std, interpolation, crop share and image size.

Sources: ``weights.transforms()`` of torchvision, ``pretrained_cfg`` of timm, settings in checkpoints of this program.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchvision import models

from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import normalization, settings
from gputrain.engine.configuration.setting_definitions import AUTO, RunConfig
from gputrain.engine.jobs.model_check_job import InputConfig
from gputrain.engine.model_catalog.torchvision_models import TIMM
from gputrain.engine.training.models import timm_models
from gputrain.engine.training.models.pretrained_weights import weights_entry
from gputrain.engine.training.models.weights_file import read_weights

_TRANSFORM_INPUT = ("googlenet", "inception_v3")
"""torchvision sets ``transform_input`` for the weights of these models, which maps ImageNet's mean and std to 0.5: with
mean and std of 0.5 the network needs no such step."""
_HALF = (0.5, 0.5, 0.5)


def of_weights(config: RunConfig) -> InputConfig | None:
    """What the weights of the settings expect; None if they say nothing. Raises BadInput for unknown weights."""
    model, weights = config.model.model, config.model.weights
    if not weights or ":" in model or model == "simple_cnn":
        return _of_file(Path(weights).expanduser()) if weights else None
    path = Path(weights).expanduser()
    if path.is_file():
        return _of_file(path) or _default(model, path)
    if model.startswith(TIMM):
        return _timm(model.removeprefix(TIMM), "")
    return _torchvision(model, weights, "")


def _of_file(path: Path) -> InputConfig | None:
    """From a checkpoint of this program."""
    if not path.is_file():
        return None
    stored = read_weights(path, shapes_only=True).settings
    if not stored:
        return None
    data = settings.build({name: stored[name] for name in ("mean", "std") if name in stored}).data
    mean, std = normalization.mean_std(data)
    return InputConfig(mean=mean, std=std, origin=f"settings in {plain(path.name, 80)}")


def _default(model: str, path: Path) -> InputConfig | None:
    """Of the model's usual weights, which a file of unknown origin most likely is or started from."""
    note = f", assumed for {plain(path.name, 80)}"
    found = _timm(model.removeprefix(TIMM), note) if model.startswith(TIMM) else _torchvision(model, "DEFAULT", note)
    # Image size and crop are those of the recipe: a file may have been fine-tuned at another size.
    return None if found is None else InputConfig(mean=found.mean, std=found.std, origin=found.origin)


def _torchvision(model: str, weights: str, note: str) -> InputConfig | None:
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
        crop=size / resize,
        interpolation=str(preset.interpolation.value),
    )


def _has_weights(model: str) -> bool:
    return bool(models.get_model_weights(model).__members__)


def _timm(name: str, note: str) -> InputConfig | None:
    config = timm_models.require_timm(name).get_pretrained_cfg(name)
    if config is None:
        return None
    return InputConfig(
        mean=_rgb(config.mean),
        std=_rgb(config.std),
        origin=f"timm's configuration of {plain(config.architecture or name, 60)}"
        + (f".{plain(config.tag, 40)}" if config.tag else "")
        + note,
        size=int(config.input_size[-1]),
        crop=float(config.crop_pct),
        interpolation=str(config.interpolation),
    )


def _rgb(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def resolve(config: RunConfig) -> RunConfig:
    """`config` with the mean and std of its weights in place of ``auto``. Raises BadInput."""
    if config.resume_from or AUTO not in (config.data.mean, config.data.std):
        return config
    found = of_weights(config)
    return config if found is None else _with(config, found.mean, found.std)


def of_checkpoint(config: RunConfig, state: Mapping[str, Any]) -> RunConfig:
    """`config` with the mean and std that a checkpoint was trained with in place of ``auto``."""
    stored = state["settings"]
    data = settings.build({name: stored[name] for name in ("mean", "std") if name in stored}).data
    return _with(config, *normalization.mean_std(data))


def _with(config: RunConfig, mean: normalization.Rgb, std: normalization.Rgb) -> RunConfig:
    values = {"mean": normalization.text_of(mean), "std": normalization.text_of(std)}
    return settings.replace(config, **{n: v for n, v in values.items() if getattr(config.data, n) == AUTO})
