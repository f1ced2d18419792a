"""Model and weights in a plan: refusals, and the settings (mean, std, image size, crop) that the weights determine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct

from gputrain.engine.configuration import engine_choice, normalization, settings
from gputrain.engine.configuration.setting_definitions import AUTO
from gputrain.engine.jobs.model_check_job import InputConfig, ModelFacts, check_model
from gputrain.engine.model_catalog import image_sizes
from gputrain.engine.planning.plan_draft import SettingsLayer


class ModelPlan(Struct, frozen=True):
    """What a plan takes over from model and weights."""

    layer: SettingsLayer | None = None
    """Settings from the weights; None without any."""
    refusals: tuple[str, ...] = ()
    forceable: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def plan_model(values: Mapping[str, Any], own: Collection[str]) -> ModelPlan:
    """Check the model of the settings `values`, of which the user set `own`. With weights it starts a child process."""
    if engine_choice.is_keras(values) or values["resume_from"]:
        return ModelPlan()
    fault = image_sizes.why_not_image_size(values["model"], values["image_size"])
    if fault and ("image_size" in own or not values["weights"]):
        return ModelPlan(refusals=(fault,))
    if not values["weights"] or ":" in values["model"]:
        return ModelPlan()
    facts = check_model(settings.build(values), size_from_weights="image_size" not in own)
    layer = _layer(facts.input, values, own) if facts.input is not None else None
    return ModelPlan(layer, facts.refusals, facts.forceable, (*facts.warnings, *_warnings(facts, values, own)))


def with_model_layer(layers: Sequence[SettingsLayer], found: ModelPlan) -> list[SettingsLayer]:
    """`layers` with that of the weights before the last one of the user's own."""
    if found.layer is None:
        return list(layers)
    at = max((number for number, layer in enumerate(layers) if layer.own), default=len(layers))
    return [*layers[:at], found.layer, *layers[at:]]


def _layer(found: InputConfig, values: Mapping[str, Any], own: Collection[str]) -> SettingsLayer | None:
    chosen: dict[str, Any] = {}
    for name, numbers in (("mean", found.mean), ("std", found.std)):
        if values[name] == AUTO:
            chosen[name] = normalization.text_of(numbers)
    if found.size and "image_size" not in own and values["dataset"] not in ("clips", "custom"):
        chosen["image_size"] = found.size
    if found.crop and "val_resize" not in own:
        chosen["val_resize"] = round(chosen.get("image_size", values["image_size"]) / found.crop)
    how = f", {found.interpolation} resizing" if found.interpolation else ""
    return SettingsLayer("weights", chosen, f"{found.origin}{how}") if chosen else None


def _warnings(facts: ModelFacts, values: Mapping[str, Any], own: Collection[str]) -> list[str]:
    found = facts.input
    if found is None:
        return []
    texts = []
    if found.interpolation == "bicubic":
        texts.append(f"weights: {found.origin} resizes bicubically; images are resized bilinearly here")
    if found.size and "image_size" in own and values["image_size"] != found.size:
        texts.append(f"image_size: {values['image_size']}; {found.origin} has {found.size}")
    for name, numbers in (("mean", found.mean), ("std", found.std)):
        if values[name] not in (AUTO, normalization.text_of(numbers)):
            texts.append(f"{name}: {values[name]}; {found.origin} has {normalization.text_of(numbers)}")
    return texts
