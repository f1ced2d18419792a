"""Model and weights in a plan: refusals, and the settings (mean, std, image size, crop) that the weights determine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct

from gputrain.engine.configuration import engine_choice, keras_compatibility, normalization, settings
from gputrain.engine.configuration.sections.data_settings import AUTO, CROP_MODES, INTERPOLATIONS
from gputrain.engine.datasets.output_count import output_count
from gputrain.engine.jobs.model_check_job import InputConfig, ModelFacts, check_model
from gputrain.engine.model_catalog import image_sizes
from gputrain.engine.planning.plan_draft import SettingsLayer

WEIGHTS = "weights"
"""Origin of settings that the weights determine."""


class ModelPlan(Struct, frozen=True):
    """What a plan takes over from model and weights."""

    layer: SettingsLayer | None = None
    """Settings from the weights; None without any."""
    refusals: tuple[str, ...] = ()
    forceable: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    """Name and text of each fact: what is loaded, and for which images."""


def plan_model(values: Mapping[str, Any], own: Collection[str]) -> ModelPlan:
    """Check the model of the settings `values`, of which the user set `own`. With weights it starts a child process."""
    if values["resume_from"]:
        return ModelPlan()
    if engine_choice.is_keras(values):
        # Keras' own weights fit its models, and say nothing of their images.
        return _checked(values, own) if values["weights"] not in ("", keras_compatibility.WEIGHTS) else ModelPlan()
    fault = image_sizes.why_not_image_size(values["model"], values["image_size"])
    if fault and ("image_size" in own or not values["weights"]):
        return ModelPlan(refusals=(fault,))
    if not values["weights"] or ":" in values["model"]:
        return ModelPlan()
    return _checked(values, own)


def _checked(values: Mapping[str, Any], own: Collection[str]) -> ModelPlan:
    outputs = output_count(values)
    facts = check_model(settings.build(values), size_from_weights="image_size" not in own, outputs=outputs)
    layer = _layer(facts.input, values, own) if facts.input is not None else None
    return ModelPlan(
        layer, facts.refusals, facts.forceable, (*facts.warnings, *_warnings(facts, values, own)), _facts(facts)
    )


def with_model_layer(layers: Sequence[SettingsLayer], found: ModelPlan) -> list[SettingsLayer]:
    """`layers` with that of the weights before the last one of the user's own."""
    if found.layer is None:
        return list(layers)
    at = max((number for number, layer in enumerate(layers) if layer.own), default=len(layers))
    return [*layers[:at], found.layer, *layers[at:]]


def _layer(found: InputConfig, values: Mapping[str, Any], own: Collection[str]) -> SettingsLayer | None:
    chosen = {name: text for name, text in _texts(found).items() if values[name] == AUTO}
    if found.size and values["dataset"] not in ("clips", "custom"):
        mode = found.crop_mode or CROP_MODES[0]
        if "crop_mode" not in own and mode in CROP_MODES and mode != values["crop_mode"]:
            chosen["crop_mode"] = mode
    if found.size and "image_size" not in own and values["dataset"] not in ("clips", "custom"):
        chosen["image_size"] = found.size
    if found.size and found.resize and "val_resize" not in own:
        # The same share of the image at another size.
        chosen["val_resize"] = chosen.get("image_size", values["image_size"]) * found.resize // found.size
    elif "image_size" in chosen and "val_resize" not in own:
        # The recipe's share of the image.
        chosen["val_resize"] = max(
            found.size or 0, round(values["val_resize"] * chosen["image_size"] / values["image_size"])
        )
    return SettingsLayer(WEIGHTS, chosen, found.origin) if chosen else None


def _texts(found: InputConfig) -> dict[str, Any]:
    """The values that the weights determine, of settings that may be ``auto``."""
    texts = {name: normalization.text_of(v) for name, v in (("mean", found.mean), ("std", found.std)) if v is not None}
    return texts | ({"interpolation": found.interpolation} if found.interpolation in INTERPOLATIONS else {})


def _warnings(facts: ModelFacts, values: Mapping[str, Any], own: Collection[str]) -> list[str]:
    found = facts.input
    if found is None:
        return []
    texts = []
    if found.interpolation and found.interpolation not in INTERPOLATIONS:
        used = "bilinear" if values["interpolation"] == AUTO else values["interpolation"]
        texts.append(f"interpolation: {used}; {found.origin} has {found.interpolation}, which does not exist here")
    if found.crop_mode not in (*CROP_MODES, ""):
        texts.append(
            f"crop_mode: {values['crop_mode']}; {found.origin} has {found.crop_mode}, which does not exist here"
        )
    elif "crop_mode" in own and found.crop_mode not in (values["crop_mode"], ""):
        texts.append(f"crop_mode: {values['crop_mode']}; {found.origin} has {found.crop_mode}")
    if found.oblong:
        texts.append(f"image_size: {found.origin} has images of {found.oblong}; here they are square")
    if found.size and "image_size" in own and values["image_size"] != found.size:
        texts.append(f"image_size: {values['image_size']}; {found.origin} has {found.size}")
    for name, text in _texts(found).items():
        if values[name] not in (AUTO, text):
            texts.append(f"{name}: {values[name]}; {found.origin} has {text}")
    return texts


def _facts(facts: ModelFacts) -> tuple[tuple[str, str], ...]:
    found = [("weights", facts.loaded)] if facts.loaded else []
    if facts.input is not None and facts.input.assumed:
        found.append(("images of weights", f"the file does not tell mean and std: {facts.input.origin}"))
    return tuple(found)
