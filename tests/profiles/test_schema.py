"""Profile and recipe files: what they hold, and how each fault is named with its place."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings, yaml_file
from gputrain.profiles import profile_files, schema

PROFILE = """\
title: My card
match:
  names: [My GPU]
  memory_gib: [10, 12]
  capability: 8.6
source: me
worker_share: 0.5
settings:
  precision: fp16
  data:
    pin_memory: true
presets:
  careful:
    source: trying
    batch_size: 32
  bold:
    worker_share: 1.0
    batch_size: 64
    num_workers: 4
    recipes:
      demo: {batch_size: 8}
default_preset: careful
notes: [one, two]
reference:
  - source: a friend
    images_per_second: [10, 20]
"""

RECIPE = """\
title: My training
task: classification
settings:
  model: resnet18
  optim:
    lr: 0.2
requires:
  batch_size: 64
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_all_keys_of_a_profile_are_read(tmp_path: Path) -> None:
    profile = profile_files.read_profile(_file(tmp_path, PROFILE))
    assert (profile.name, profile.title, profile.source, profile.worker_share) == ("mine", "My card", "me", 0.5)
    assert profile.match == schema.MatchRules(names=("My GPU",), memory_gib=(10, 12), capability=8.6)
    assert profile.settings == {"precision": "fp16", "pin_memory": True}
    assert profile.preset().name == "careful"
    assert profile.preset("bold").settings == {"batch_size": 64, "num_workers": 4}
    assert (profile.preset("bold").recipes, profile.preset().recipes) == ({"demo": {"batch_size": 8}}, {})
    assert (profile.preset("bold").worker_share, profile.preset().worker_share) == (1.0, None)
    assert profile.notes == ("one", "two")
    assert profile.references[0].images_per_second == (10, 20)


def test_all_keys_of_a_recipe_are_read(tmp_path: Path) -> None:
    recipe = profile_files.read_recipe(_file(tmp_path, RECIPE))
    assert (recipe.name, recipe.title, recipe.task) == ("mine", "My training", "classification")
    assert recipe.settings == {"model": "resnet18", "lr": 0.2}
    assert recipe.requires == {"batch_size": 64}


def test_unknown_preset_suggests_the_nearest(tmp_path: Path) -> None:
    profile = profile_files.read_profile(_file(tmp_path, PROFILE))
    with pytest.raises(BadInput, match="profile mine has no preset 'bald'; did you mean 'bold'\\? \\(careful, bold\\)"):
        profile.preset("bald")


FAULTS = [
    # what is replaced, by what, the message after the file's name
    ("title: My card\n", "", ": title is missing"),
    ("title: My card", "title:", ": title is missing"),
    ("title: My card", "title: 3", ":1: title: expected a text, got a whole number"),
    ("title: My card", "titel: My card\ntitle: x", ":1: unknown key 'titel'; did you mean 'title'?"),
    ("names: [My GPU]", "nmaes: [My GPU]", ":3: unknown key 'nmaes'; did you mean 'names'?"),
    ("names: [My GPU]", "names: My GPU", ":3: match.names: expected a list, got a text"),
    ("names: [My GPU]", "names: [3]", ":3: match.names[0]: expected a text, got a whole number"),
    ("memory_gib: [10, 12]", "memory_gib: [10]", ":4: match.memory_gib: expected a list of length 2, got 1"),
    ("capability: 8.6", "capability: new", ":5: match.capability: expected a number"),
    ("capability: 8.6", "capability: 8.6\n  device: tpu", ":6: match.device: invalid enum value 'tpu'"),
    ("worker_share: 0.5", "worker_share: 2", ":7: worker_share: expected a number <= 1.0"),
    ("precision: fp16", "precision: fp15", ":9: precision must be one of auto, fp32, fp16, bf16, got 'fp15'"),
    ("precision: fp16", "lr: 0.1", ":9: lr belongs to a recipe, not to the hardware"),
    ("pin_memory: true", "image_size: 64", ":11: image_size belongs to a recipe, not to the hardware"),
    ("precision: fp16", "name: x", ":9: name is set by each launch and is not allowed in a file"),
    ("settings:\n  precision: fp16\n  data:\n    pin_memory: true", "settings: [1]", ":8: settings: expected 'key"),
    ("batch_size: 32", "batch_size: 0", ":15: batch_size must be ≥ 1, got 0"),
    ("batch_size: 32", "batchsize: 32", ":15: unknown setting 'batchsize'; did you mean 'batch_size'?"),
    ("batch_size: 32", "lr: 0.1", ":15: lr belongs to a recipe, not to the hardware"),
    ("worker_share: 1.0", "worker_share: no", ":17: presets.bold.worker_share: expected a number"),
    ("{batch_size: 8}", "{lr: 0.1}", ":21: lr belongs to a recipe, not to the hardware"),
    (
        "default_preset: careful",
        "default_preset: brave",
        ":22: default_preset is brave, which is not one of the presets (careful,",
    ),
    (
        "default_preset: careful\n",
        "",
        ":12: default_preset is balanced, which is not one of the presets (careful, bold)",
    ),
    ("- source: a friend", "- sauce: a friend", ":24: unknown key 'sauce'; did you mean 'source'?"),
    (
        "    images_per_second: [10, 20]",
        "ladder: [{source: x, gains: {speed: 2}}]",
        ":26: ladder[0].gains: invalid",
    ),
    ("images_per_second: [10, 20]", "images_per_second: fast", ":24: reference[0].images_per_second: expected a list"),
]


@pytest.mark.parametrize(("old", "new", "message"), FAULTS)
def test_profile_errors_name_file_and_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in PROFILE
    path = _file(tmp_path, PROFILE.replace(old, new, 1))
    with pytest.raises(BadInput) as caught:
        profile_files.read_profile(path)
    assert str(caught.value).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lr: 0.2", "num_workers: 2", ":6: unknown setting 'optim.num_workers'"),
        ("model: resnet18", "num_workers: 2", ":4: num_workers belongs to the hardware profile; if the recipe needs"),
        ("model: resnet18", "compile: true", ":4: compile belongs to the hardware profile"),
        ("batch_size: 64", "lr: 1", ":8: lr belongs to a recipe, not to the hardware"),
        ("model: resnet18", "resume_from: x", ":4: resume_from is set by each launch"),
        ("task: classification", "presets: {}", ":2: unknown key 'presets'"),
        ("title: My training", "", ": title is missing"),
    ],
)
def test_recipe_errors_name_file_and_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = _file(tmp_path, RECIPE.replace(old, new, 1))
    with pytest.raises(BadInput) as caught:
        profile_files.read_recipe(path)
    assert str(caught.value).startswith(f"{path}{message}")


def test_every_setting_belongs_to_profile_recipe_or_launch() -> None:
    assert settings.table().keys() >= schema.HARDWARE_SETTINGS
    assert settings.table().keys() >= schema.LAUNCH_SETTINGS
    assert not schema.HARDWARE_SETTINGS & schema.LAUNCH_SETTINGS
    assert schema.belongs_to_hardware("compile")
    assert not schema.belongs_to_hardware("lr")


KEYS = st.sampled_from(
    [
        *schema.MatchRules.__struct_fields__,
        *schema.Reference.__struct_fields__,
        *("title", "match", "presets", "settings", "default_preset", "notes", "reference", "batch_size", "data", "x"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 100) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


# No example is slow by itself; a busy machine makes any of them so.
@hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_mapping_is_a_profile_or_bad_input(values: dict[str, object]) -> None:
    refusal = "any.yaml"
    base = {"title": "t", "match": {}, "presets": {"balanced": {}}}
    text = msgspec.yaml.encode({**base, **values}).decode()
    try:
        profile_files.parse_profile(yaml_file.parse(Path("any.yaml"), text))
    except BadInput as error:
        refusal = str(error)
    assert refusal.startswith("any.yaml")
    assert refusal.isprintable()
