"""Validity of calibrations for settings, and calibrations on disk."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from fakes.calibrations import MADE, VALUES, made

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import state_home
from gputrain.engine.common.units import GIB
from gputrain.engine.estimates import calibration, calibration_store
from gputrain.engine.estimates.calibration import difference
from gputrain.engine.hardware.machine import GpuInfo, Machine
from gputrain.engine.hardware.torch_build import TorchBuild

MACHINE = Machine(
    hostname="here",
    usable_cores=8.0,
    host_cores=8,
    cpu_model="Some CPU",
    memory_total=64 * GIB,
    memory_limit=64 * GIB,
    memory_available=60 * GIB,
    shm_total=GIB,
    gpus=(),
    gpu_error="no NVIDIA driver",
    driver="",
)
HERE = made(machine=calibration_store.machine_key(MACHINE))


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


def test_newest_valid_calibration_is_chosen() -> None:
    newer = made(made=MADE.made + 1)
    other = made(made=MADE.made + 2, settings={**MADE.settings, "model": "resnet18"})
    assert calibration.choose([MADE, newer, other], VALUES) is newer
    assert calibration.choose([], VALUES) is None


def test_saved_calibration_is_found_on_the_same_machine_only() -> None:
    calibration_store.save(HERE)
    assert calibration_store.load(MACHINE, "demo") == [HERE]
    assert calibration_store.load(MACHINE, "other") == []
    card = GpuInfo(index=0, uuid="GPU-1", name="Some GPU", memory=GIB, capability=(8, 6))
    for change in ({"gpus": (card,)}, {"usable_cores": 4.0}, {"torch": TorchBuild(version="9", cuda="")}):
        assert calibration_store.load(msgspec.structs.replace(MACHINE, **change), "demo") == []
    assert calibration_store.load(msgspec.structs.replace(MACHINE, memory_available=GIB), "demo") == [HERE]


def test_same_settings_replace_a_calibration() -> None:
    first = calibration_store.save(HERE)
    newer = msgspec.structs.replace(HERE, made=HERE.made + 9, together=1.0)
    assert calibration_store.save(newer) == first
    other = msgspec.structs.replace(HERE, settings={**HERE.settings, "precision": "bf16"})
    assert calibration_store.save(other) != first
    assert {one.together for one in calibration_store.load(MACHINE, "demo")} == {1.0, 380.0}


def test_damaged_and_newer_files_are_skipped() -> None:
    path = calibration_store.save(HERE)
    path.with_name("demo-torn.json").write_bytes(path.read_bytes()[:100])
    path.with_name("demo-later.json").write_bytes(
        msgspec.json.encode(msgspec.structs.replace(HERE, version=calibration.VERSION + 1))
    )
    assert calibration_store.load(MACHINE, "demo") == [HERE]


def test_recipe_name_cannot_leave_the_folder() -> None:
    for name in ("../../evil", "/etc/passwd", "..", ""):
        path = calibration_store.save(msgspec.structs.replace(HERE, recipe=name))
        assert path.resolve().is_relative_to((state_home() / "calibrations").resolve())
        assert [one.recipe for one in calibration_store.load(MACHINE, name)] == [name]


def test_unwritable_folder_is_reported(private_homes: Path) -> None:
    (private_homes / "state").write_text("a file in the way")
    with pytest.raises(BadInput, match="cannot be written"):
        calibration_store.save(HERE)
