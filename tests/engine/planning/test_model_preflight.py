"""Model and weights in a plan: refusals before the start, and settings that come from the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fakes.plans import CPU
from torchvision import models

from gputrain.engine.configuration import settings
from gputrain.engine.launching import launch, resume_run
from gputrain.engine.model_catalog import image_sizes
from gputrain.engine.planning.model_preflight import ModelPlan, plan_model, with_model_layer
from gputrain.engine.planning.plan import make_plan
from gputrain.engine.planning.plan_draft import SettingsLayer
from gputrain.engine.training.models import create_model
from gputrain.engine.training.models.image_size_check import _forward

DEFAULTS = settings.flatten(settings.build({}))


def planned(own: dict[str, object]) -> tuple[ModelPlan, dict[str, object]]:
    values = {**DEFAULTS, **own}
    found = plan_model(values, own)
    return found, {**values, **(found.layer.values if found.layer else {})}


def test_weights_of_another_model_are_refused_before_the_start_and_force_overrules_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "resnet18.pth"
    torch.save(models.resnet18().state_dict(), file)
    found, _ = planned({"model": "resnet34", "weights": str(file)})
    (refusal,) = found.refusals
    assert "does not fit resnet34: 80 tensors missing in the file (layer1.2.conv1.weight" in refusal
    assert "weights_strict=false, which leaves 82 of 218 tensors random" in refusal
    assert found.forceable == found.refusals
    fitting, values = planned({"model": "resnet18", "weights": str(file)})
    assert fitting.refusals == ()
    assert values["mean"] == "0.485, 0.456, 0.406"
    assert "assumed for resnet18.pth" in (fitting.layer.source if fitting.layer else "")
    lenient, _ = planned({"model": "resnet34", "weights": str(file), "weights_strict": False})
    assert lenient.refusals == ()
    _force_starts_without_strictness(found, monkeypatch)


def _force_starts_without_strictness(found: ModelPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(launch, "launch", lambda config, *rest: started.append(config))
    plan = make_plan([SettingsLayer("you", {}, own=True)], CPU, refusals=found.refusals, forceable=found.forceable)
    resume_run.begin(plan, force=True)
    assert not started[0].model.weights_strict


def test_named_weights_determine_the_settings_that_the_user_did_not_set() -> None:
    found, values = planned({"model": "inception_v3", "weights": "DEFAULT"})
    assert found.refusals == ()
    assert (values["image_size"], values["val_resize"]) == (299, 342)
    assert (values["mean"], values["std"]) == ("0.5, 0.5, 0.5", "0.5, 0.5, 0.5")
    assert found.layer is not None
    assert found.layer.origin == "weights"
    assert "torchvision's Inception_V3_Weights.IMAGENET1K_V1" in found.layer.source
    own, values = planned({"model": "inception_v3", "weights": "DEFAULT", "image_size": 160, "mean": "0.4, 0.4, 0.4"})
    assert (values["image_size"], values["val_resize"]) == (160, 183)
    assert values["mean"] == "0.4, 0.4, 0.4"
    assert any(text.startswith("mean: 0.4, 0.4, 0.4; torchvision's") for text in own.warnings)
    assert any(text.startswith("image_size: 160; torchvision's") for text in own.warnings)


def test_the_users_settings_override_those_of_the_weights() -> None:
    layers = [SettingsLayer("recipe", {"image_size": 80}), SettingsLayer("you", {"std": "0.5"}, own=True)]
    found = ModelPlan(SettingsLayer("weights", {"std": "0.2, 0.2, 0.2", "image_size": 96}))
    assert [layer.origin for layer in with_model_layer(layers, found)] == ["recipe", "weights", "you"]
    assert with_model_layer(layers, ModelPlan()) == layers


def test_an_image_size_that_the_model_does_not_accept_is_refused_without_torch() -> None:
    found, _ = planned({"model": "vit_b_16", "image_size": 100})
    assert found.refusals == (
        "image_size: vit_b_16 does not accept images of 100 × 100: the size must be a multiple of 16",
    )
    assert planned({"model": "vit_b_16", "image_size": 64})[0] == ModelPlan()


@pytest.mark.parametrize(
    ("model", "least"),
    [("alexnet", 63), ("inception_v3", 75), ("squeezenet1_0", 21), ("squeezenet1_1", 17), ("vgg11", 32),
     ("densenet121", 29), ("googlenet", 15)],
)  # fmt: skip
def test_the_table_of_smallest_sizes_is_that_of_the_models(model: str, least: int) -> None:
    network = create_model.on_meta(settings.build({"model": model}), 3)
    assert _forward(network, least, 1) is None
    assert image_sizes.why_not_image_size(model, least) == ""
    assert _forward(network, least - 1, 1) is not None
    assert f"at least {least}" in image_sizes.why_not_image_size(model, least - 1)


def test_maxvit_needs_multiples_of_224() -> None:
    assert image_sizes.why_not_image_size("maxvit_t", 448) == ""
    assert "multiple of 224" in image_sizes.why_not_image_size("maxvit_t", 320)
