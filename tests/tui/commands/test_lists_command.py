"""``gputrain-tui profiles show | new`` and ``recipes show``: in full, for a person and as JSON."""

from __future__ import annotations

import json

import pytest

from gputrain.engine.common.files import config_home
from gputrain.profiles import catalog
from gputrain.tui.cli import main


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main.main(list(arguments)) == 0
    return capsys.readouterr().out.splitlines()


def test_a_profile_is_shown_with_its_presets_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "profiles", "show", "a10g-23gb")
    assert lines[0] == "a10g-23gb: NVIDIA A10G, 23 GB"
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["setting"] == ["conservative", "balanced", "*", "aggressive"]
    assert rows["batch_size"] == ["192", "256", "320"]
    assert rows["num_workers"] == ["8", "12", "16"]
    assert rows["compile"] == ["false", "true", "true"]
    assert rows["precision"] == ["fp16", "fp16", "fp16"]
    assert any("0.8 to 1.5 batches/s" in line and "13 to 16 GB of VRAM" in line for line in lines)
    assert said(capsys, "profiles", "a10g-23gb") == lines


@pytest.mark.parametrize("name", ["unknown-nvidia", "cpu", "rtx-3090-24gb"])
def test_profiles_of_all_kinds_can_be_shown(capsys: pytest.CaptureFixture[str], name: str) -> None:
    lines = said(capsys, "profiles", "show", name)
    assert any(line.startswith("batch_size") for line in lines)
    assert json.loads(said(capsys, "profiles", "show", name, "--json")[0])["name"] == name


def test_a_new_profile_starts_from_this_machine_and_is_listed_first(capsys: pytest.CaptureFixture[str]) -> None:
    path = config_home() / "profiles" / "mine.yaml"
    assert said(capsys, "profiles", "new", "mine")[0].startswith(str(path))
    assert path.read_text().startswith("# Your own hardware profile, copied from ")
    assert said(capsys, "profiles")[1].split()[:2] == ["●", "mine"]
    assert said(capsys, "profiles", "show", "mine")[1] == f"file     {path}"
    assert any(line.split()[:2] == ["profile", "mine"] for line in said(capsys, "train", "--dry-run"))
    assert main.main(["profiles", "new", "mine"]) == 2
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["profiles", "new"], "expected one NAME, or show NAME or new NAME"),
        (["profiles", "show"], "expected one NAME"),
        (["profiles", "cpu", "demo"], "expected one NAME"),
        (["recipes", "show", "demo", "more"], "expected one NAME, or show NAME"),
        (["profiles", "show", "a10g"], "did you mean 'a10g-23gb'"),
        (["recipes", "show", "demos"], "did you mean 'demo'"),
        (["profiles", "new", "../evil"], "is not a valid profile name"),
    ],
)
def test_bad_words_are_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", [entry.name for entry in catalog.recipe_entries()])
def test_a_recipe_is_shown_with_all_its_settings(capsys: pytest.CaptureFixture[str], name: str) -> None:
    lines = said(capsys, "recipes", "show", name)
    recipe = catalog.load_recipe(name)
    shown = {line.split()[0] for line in lines if line}
    assert {*recipe.settings, *recipe.requires} <= shown
    assert lines[-1] == f"train with: gputrain-tui train --recipe {name}"
