"""The built-in recipes: buildable, complete in words, and the A10G guide's values where they come from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gputrain.engine.configuration import settings
from gputrain.profiles import catalog

BUILT_IN = sorted(path.stem for path in (Path(catalog.__file__).parent / "recipes").iterdir())


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_recipe_is_valid_and_described(name: str) -> None:
    recipe = catalog.load_recipe(name)
    settings.build({**recipe.settings, **recipe.requires})
    assert recipe.title
    assert recipe.description
    assert recipe.task


def test_imagenet_recipe_has_the_values_of_seed_003() -> None:
    values = catalog.load_recipe("imagenet-resnet50").settings
    seed = {"model": "resnet50", "image_size": 224, "label_smoothing": 0.1, "lr": 0.5, "lr_batch_size": 256}
    assert {key: values[key] for key in seed} == seed
    assert values["epochs"] == 100


def test_headpose_recipes_have_the_augmentation_of_seed_002() -> None:
    """The RTX 3090 guide: horizontal flips, and jitter of brightness, contrast, saturation and hue."""
    for name in ("headpose-300wlp", "headpose-biwi"):
        values = catalog.load_recipe(name).settings
        assert values["augment"] == "flip"
        assert min(values["color_jitter"], values["hue_jitter"]) > 0


def test_demo_needs_no_data_and_no_gpu() -> None:
    values = catalog.load_recipe("demo").settings
    assert values["dataset"] == "demo"
    assert "data_dir" not in values
