"""Validity of calibrations for settings, and calibrations on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.calibrations import MADE, VALUES, made
from fakes.machines import NO_GPU

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import state_home
from gputrain.engine.common.units import GIB
from gputrain.engine.estimates import calibration, calibration_store
from gputrain.engine.estimates.calibration import CachedCost, StepCost, difference
from gputrain.engine.hardware.machine import GpuInfo
from gputrain.engine.hardware.torch_build import TorchBuild

HERE = made(machine=calibration_store.machine_key(NO_GPU))


@pytest.mark.parametrize("name", ["batch_size", "num_workers", "prefetch_factor", "lr", "epochs", "seed", "val_split"])
def test_settings_without_effect_on_validity_may_differ(name: str) -> None:
    assert difference(MADE, {**VALUES, name: 3}) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("model", "resnet18"), ("image_size", 64), ("precision", "bf16"), ("data_dir", "/other"), ("optimizer", "lamb")],
)
def test_settings_that_invalidate_a_calibration_are_named(name: str, value: object) -> None:
    assert difference(MADE, {**VALUES, name: value}) == {name: (VALUES[name], value)}
    assert calibration.choose([MADE], {**VALUES, name: value}) is None


def test_settings_that_an_older_version_did_not_know_have_their_default() -> None:
    older = made(settings={name: value for name, value in MADE.settings.items() if name != "value_range"})
    assert difference(older, VALUES) == {}
    assert difference(older, {**VALUES, "value_range": "file"}) == {"value_range": ("auto", "file")}


def test_newest_valid_calibration_is_chosen() -> None:
    newer = made(made=MADE.made + 1)
    other = made(made=MADE.made + 2, settings={**MADE.settings, "model": "resnet18"})
    assert calibration.choose([MADE, newer, other], VALUES) is newer
    assert calibration.choose([], VALUES) is None


def test_saved_calibration_is_found_on_the_same_machine_only() -> None:
    calibration_store.save(HERE)
    assert calibration_store.load(NO_GPU, "demo") == [HERE]
    assert calibration_store.load(NO_GPU, "other") == []
    card = GpuInfo(index=0, uuid="GPU-1", name="Some GPU", memory=GIB, capability=(8, 6))
    for change in ({"gpus": (card,)}, {"usable_cores": 4.0}, {"torch": TorchBuild(version="9", cuda="")}):
        assert calibration_store.load(msgspec.structs.replace(NO_GPU, **change), "demo") == []
    assert calibration_store.load(msgspec.structs.replace(NO_GPU, memory_available=GIB), "demo") == [HERE]


def test_same_settings_replace_a_calibration() -> None:
    first = calibration_store.save(HERE)
    newer = msgspec.structs.replace(HERE, made=HERE.made + 9, together=1.0)
    assert calibration_store.save(newer) == first
    other = msgspec.structs.replace(HERE, settings={**HERE.settings, "precision": "bf16"})
    assert calibration_store.save(other) != first
    assert {one.together for one in calibration_store.load(NO_GPU, "demo")} == {1.0, 380.0}


def test_damaged_and_newer_files_are_skipped() -> None:
    path = calibration_store.save(HERE)
    path.with_name("demo-torn.json").write_bytes(path.read_bytes()[:100])
    path.with_name("demo-later.json").write_bytes(
        msgspec.json.encode(msgspec.structs.replace(HERE, version=calibration.VERSION + 1))
    )
    assert calibration_store.load(NO_GPU, "demo") == [HERE]


def test_recipe_name_cannot_leave_the_folder() -> None:
    for name in ("../../evil", "/etc/passwd", "..", ""):
        path = calibration_store.save(msgspec.structs.replace(HERE, recipe=name))
        assert path.resolve().is_relative_to((state_home() / "calibrations").resolve())
        assert [one.recipe for one in calibration_store.load(NO_GPU, name)] == [name]


def test_unwritable_folder_is_reported(private_homes: Path) -> None:
    (private_homes / "state").write_text("a file in the way")
    with pytest.raises(BadInput, match="cannot be written"):
        calibration_store.save(HERE)


@pytest.mark.parametrize(
    "changes",
    [
        {"train_images": 0},
        {"together": 0.0},
        {"supply": 0.0},
        {"batch_size": 0},
        {"usable_cores": 0.0},
        {"steps": ()},
        {"steps": (StepCost(64, 0.0, 0.0, None),)},
        {"cached": (CachedCost("none", 200.0, 1e5), CachedCost("raw", 0.0, 1e5))},
    ],
)
def test_calibrations_with_zero_rates_are_skipped(changes: dict[str, Any]) -> None:
    """Forecasts divide by them."""
    calibration_store.save(msgspec.structs.replace(HERE, **changes))
    assert calibration_store.load(NO_GPU, "demo") == []
    calibration_store.save(HERE)
    assert calibration_store.load(NO_GPU, "demo") == [HERE]
