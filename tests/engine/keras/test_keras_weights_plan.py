"""Weights of Keras runs in the plan: the same refusals as at the start, and the settings of the run that wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.keras.keras_tools import draw_images, keras_config, needs_tensorflow, own_environment, train

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import Notice
from gputrain.engine.planning.model_preflight import ModelPlan, plan_model

pytestmark = needs_tensorflow
__all__ = ["own_environment"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images, and a checkpoint of a run on them."""
    home = tmp_path_factory.mktemp("source")
    images = draw_images(home / "images")
    train(home, keras_config(images, epochs=1, max_steps=1, interpolation="bicubic"))
    return images, home / "checkpoints" / checkpoint_index.find(home / "checkpoints", "last").file


def planned(config: RunConfig, own: tuple[str, ...] = ("image_size", "val_resize")) -> ModelPlan:
    return plan_model(settings.flatten(config), own)


def started(directory: Path, config: RunConfig) -> str:
    """The refusal or the notice of a run."""
    try:
        result = train(directory, config)
    except BadInput as error:
        return str(error)
    (text,) = [event.text for event in result.of(Notice) if event.text.startswith("weights: ")]
    return str(text)


def changed(file: Path, target: Path, change: Any) -> Path:
    with np.load(file) as archive:
        arrays = {name: archive[name] for name in archive.files}
    change(arrays)
    np.savez(target, **arrays)
    return target


def broken(arrays: dict[str, Any]) -> None:
    arrays["model/stem/kernel"] = arrays["model/stem/kernel"] * np.nan


def missing(arrays: dict[str, Any]) -> None:
    del arrays["model/stage2/kernel"]


@pytest.mark.parametrize("change", [broken, missing, dict])
def test_the_plan_has_the_refusal_and_the_count_of_the_run(
    source: tuple[Path, Path], tmp_path: Path, change: Any
) -> None:
    images, file = source
    weights = changed(file, tmp_path / "weights.npz", change)
    config = keras_config(images, weights=str(weights), epochs=1, max_steps=1)
    plan = planned(config)
    (tmp_path / "run").mkdir()
    text = started(tmp_path / "run", config)
    if change is dict:
        assert plan.refusals == ()
        assert plan.facts == (("weights", text.removeprefix("weights: ")),)
        return
    assert plan.refusals == plan.forceable == (text,)
    assert {broken: "with NaN or Inf (stem/kernel)", missing: "missing in the file (stage2/kernel)"}[change] in text
    lenient = settings.replace(config, weights_strict=False)
    assert planned(lenient).refusals == ()
    (tmp_path / "forced").mkdir()
    assert planned(lenient).facts == (("weights", started(tmp_path / "forced", lenient).removeprefix("weights: ")),)


def test_image_size_and_interpolation_are_those_of_the_checkpoint(source: tuple[Path, Path]) -> None:
    images, file = source
    config = keras_config(images, weights=str(file))
    plan = planned(config, own=())
    assert plan.layer is not None
    assert plan.layer.values == {"image_size": 32, "val_resize": config.data.val_resize, "interpolation": "bicubic"}
    assert plan.layer.source == f"settings in {file.name}"


def test_a_file_that_is_no_checkpoint_is_refused_in_the_plan(source: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"nothing")
    config = keras_config(source[0], weights=str(tmp_path / "a.npz"))
    (refusal,) = planned(config).refusals
    assert refusal.startswith(f"weights: {tmp_path / 'a.npz'} is not a Keras checkpoint: ")
    assert refusal == started(tmp_path, config)
