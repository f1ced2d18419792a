"""Model and weights in a plan: refusals before the start, and settings that come from the weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.plans import CPU
from torchvision import models

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.config_file import read_config
from gputrain.engine.jobs import model_check_job
from gputrain.engine.launching import resume_run
from gputrain.engine.model_catalog import image_sizes
from gputrain.engine.planning.model_preflight import ModelPlan, plan_model, with_model_layer
from gputrain.engine.planning.plan import make_plan
from gputrain.engine.planning.plan_draft import SettingsLayer
from gputrain.engine.processes import child_job
from gputrain.engine.training.models import create_model
from gputrain.engine.training.models.image_size_check import _forward
from gputrain.engine.training.tasks.classification import Classification

DEFAULTS = settings.flatten(settings.build({}))


def planned(own: dict[str, object]) -> tuple[ModelPlan, dict[str, object]]:
    values = {**DEFAULTS, **own}
    found = plan_model(values, own)
    return found, {**values, **(found.layer.values if found.layer else {})}


@pytest.mark.long
def test_weights_of_another_model_are_refused_before_the_start_and_force_overrules_it(tmp_path: Path) -> None:
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
    plan = make_plan([SettingsLayer("you", {}, own=True)], CPU, refusals=found.refusals, forceable=found.forceable)
    run = resume_run.prepare(plan, force=True)
    assert not read_config(run.config).model.weights_strict


@pytest.mark.long
def test_the_plan_tells_what_the_run_loads(tmp_path: Path) -> None:
    """The text of the run's notice: kind of the file, EMA weights, prefix, and how many tensors stay random."""
    state = {f"module.{name}": tensor for name, tensor in models.resnet18(num_classes=7).state_dict().items()}
    file = tmp_path / "a.pth"
    torch.save({"state_dict": {}, "state_dict_ema": state}, file)
    for classes, model, strict in ((7, "resnet18", True), (2, "resnet18", True), (2, "resnet34", False)):
        images = tmp_path / f"images{classes}"
        for number in range(classes):
            (images / "train" / f"class{number}").mkdir(parents=True, exist_ok=True)
        own = {"model": model, "weights": str(file), "weights_strict": strict, "data_dir": str(images)}
        found, values = planned({**own, "dataset": "imagefolder"})
        (text,) = [text for name, text in found.facts if name == "weights"]
        notices: list[str] = []

        def tell(_level: str, told: str, notices: list[str] = notices) -> None:
            notices.append(told)

        create_model.create(settings.build(values), Classification(classes), tell)
        assert notices == [f"weights: {text}"]
        assert "(torch file; EMA weights, key state_dict_ema; prefix 'module.' removed)" in text
        random = {(7, "resnet18"): 0, (2, "resnet18"): 2, (2, "resnet34"): 82}[classes, model]
        assert (f"; {random} stay random: " in text) if random else text.endswith(")")


@pytest.mark.long
def test_interpolated_positions_are_told(tmp_path: Path) -> None:
    file = tmp_path / "vit.pth"
    with torch.device("meta"):
        shapes = models.vit_b_16(num_classes=2).state_dict()
    torch.save({name: torch.zeros(tensor.shape) for name, tensor in shapes.items()}, file)
    own: dict[str, object] = {"model": "vit_b_16", "weights": str(file)}
    found, values = planned(own)
    assert values["image_size"] == 224, "that of the file"
    layers = with_model_layer([SettingsLayer("recipe", {"image_size": 80, "val_resize": 88})], found)
    assert layers[-1] == found.layer
    recipe = plan_model({**DEFAULTS, **own, "image_size": 80, "val_resize": 88}, own)
    assert recipe.layer is not None
    assert (recipe.layer.values["image_size"], recipe.layer.values["val_resize"]) == (224, 246), "88 of 80, at 224"
    assert not any("interpolated to" in text for _, text in found.facts)
    other, _ = planned({**own, "image_size": 96})
    assert any(
        "interpolated to the image size: encoder.pos_embedding 1 × 197 × 768 → 1 × 37 × 768" in text
        for _, text in other.facts
    )
    assert any(text.startswith("image_size: 96; ") and text.endswith(" has 224") for text in other.warnings)


@pytest.mark.long
def test_the_crop_mode_comes_from_the_weights(tmp_path: Path) -> None:
    """timm's squash; its border does not exist here, and is warned of."""
    save_file = pytest.importorskip("safetensors.torch").save_file
    state = {name: tensor.contiguous() for name, tensor in models.resnet18(num_classes=2).state_dict().items()}
    for mode, told in (("squash", {"crop_mode": "squash"}), ("border", {}), ("center", {})):
        cfg = {"input_size": [3, 64, 64], "crop_pct": 1.0, "crop_mode": mode}
        save_file(state, tmp_path / f"{mode}.safetensors", {"pretrained_cfg": json.dumps(cfg)})
        own: dict[str, object] = {"model": "resnet18", "weights": str(tmp_path / f"{mode}.safetensors")}
        found, values = planned(own)
        assert found.layer is not None
        assert {name: text for name, text in found.layer.values.items() if name == "crop_mode"} == told
        assert (values["image_size"], values["val_resize"]) == (64, 64)
        warned = [text for text in found.warnings if text.startswith("crop_mode: center; ")]
        assert bool(warned) == (mode == "border")
    # Not what weights before these had.
    changed = plan_model({**DEFAULTS, **own, "crop_mode": "squash"}, own)
    assert changed.layer is not None
    assert changed.layer.values["crop_mode"] == "center"


@pytest.mark.long
def test_nan_is_refused_in_the_plan_with_the_text_of_the_run(tmp_path: Path) -> None:
    state = models.resnet18(num_classes=2).state_dict()
    state["layer1.0.conv1.weight"][0] = torch.nan
    state["layer1.0.conv2.weight"][0] = torch.inf
    torch.save(state, tmp_path / "nan.pth")
    own: dict[str, object] = {"model": "resnet18", "weights": str(tmp_path / "nan.pth")}
    found, values = planned(own)
    with pytest.raises(BadInput) as caught:
        create_model.create(settings.build(values), Classification(2), lambda level, text: None)
    assert found.refusals == found.forceable == (str(caught.value),)
    assert "NaN or Inf in 2 tensors (layer1.0.conv1.weight, layer1.0.conv2.weight)" in found.refusals[0]
    forced, _ = planned({**own, "weights_strict": False})
    assert forced.refusals == ()
    assert any("without 2 tensors with NaN or Inf" in text for _, text in forced.facts)


@pytest.mark.long
def test_a_result_is_kept_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUTRAIN_CACHE", str(tmp_path / "cache"))
    file, other = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save(models.resnet18(num_classes=2).state_dict(), file)
    times = file.stat()
    first, _ = planned({"model": "resnet18", "weights": str(file)})
    started: list[str] = []

    def counted(child: str, *rest: Any) -> Any:
        started.append(child)
        return child_job.run_job(child, *rest)

    monkeypatch.setattr(model_check_job, "run_job", counted)
    again, _ = planned({"model": "resnet18", "weights": str(file)})
    assert again == first
    assert started == [], "the result was kept"
    # Another file of the same name, size and times, as rsync -t writes it.
    state = models.resnet18(num_classes=2).state_dict()
    state["conv1.weight"][0] = torch.nan
    torch.save(state, other)
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert other.stat().st_size == times.st_size
    other.replace(file)
    found, _ = planned({"model": "resnet18", "weights": str(file)})
    assert "NaN" in found.refusals[0]
    # Written in place, and its times put back.
    torch.save(models.resnet18(num_classes=2).state_dict(), file)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert planned({"model": "resnet18", "weights": str(file)})[0].refusals == ()
    assert len(started) == 2
    for kept in (tmp_path / "cache" / "model-checks").iterdir():
        kept.write_text("{")
    assert planned({"model": "resnet18", "weights": str(file)})[0].refusals == ()
    assert len(started) == 3, "a damaged result is not used"


@pytest.mark.long
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
