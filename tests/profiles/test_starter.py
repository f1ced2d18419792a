"""The starting file of an own profile: readable as it is, and the best one for the machine it was made on."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest
from fakes.machines import NO_GPU, with_gpu

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings, yaml_file
from gputrain.engine.hardware.machine import Machine
from gputrain.profiles import catalog
from gputrain.profiles.new_profile import new_profile, starter_profile
from gputrain.profiles.profile_files import parse_profile
from gputrain.profiles.resolve_plan import resolve_plan

CPU = msgspec.structs.replace(NO_GPU, usable_cores=8.0)


MACHINES = [
    CPU,
    with_gpu("NVIDIA A10G", 22.5, (8, 6), cores=8.0),
    with_gpu("NVIDIA Future: [1] #2", 55.5, (13, 0)),
    with_gpu("Evil\x1b[31m\nGPU", 8.0, (8, 6)),
    with_gpu("NVIDIA Bare", None, None),
    with_gpu("NVIDIA RTX 4500 Ada Generation", 24.0, (8, 9)),
    with_gpu("NVIDIA GeForce GTX 1070", 8.0, (6, 1)),
    with_gpu("NVIDIA GeForce GTX 1070 with Max-Q Design", 8.0, (6, 1)),
]


@pytest.mark.parametrize("machine", MACHINES)
def test_starter_profile_wins_and_plans_the_same_run(machine: Machine) -> None:
    recipes = ("resnet50-imagefolder", "deepfake-convlstm")
    before = [resolve_plan(machine, recipe=recipe, preset="conservative").config for recipe in recipes]
    path = new_profile("mine", machine)
    assert path.stat().st_mode & stat.S_IRWXO == 0
    assert catalog.best(machine) == "mine"
    after = [resolve_plan(machine, recipe=recipe, preset="conservative").config for recipe in recipes]
    assert [msgspec.structs.replace(config, profile=before[0].profile) for config in after] == before


@pytest.mark.parametrize("machine", MACHINES)
def test_starter_profile_has_comments_and_no_control_characters(machine: Machine) -> None:
    text = starter_profile(machine)
    assert parse_profile(yaml_file.parse(Path("mine.yaml"), text)).presets.keys() >= {"conservative", "balanced"}
    assert text.count("\n#") >= 4
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize("machine", MACHINES)
def test_settings_are_explained_at_their_first_use(machine: Machine) -> None:
    found: dict[str, list[str]] = {}
    for text in starter_profile(machine).split("\nsettings:\n")[1].splitlines():
        name, _, rest = text.strip().partition(": ")
        if name in settings.table():
            found.setdefault(name, []).append(rest)
    assert len(found) >= 4
    for name, (first, *others) in found.items():
        assert first.endswith(f"  # {settings.find(name).description}")
        assert not [text for text in others if "#" in text]


def test_starter_profile_names_the_number_of_workers() -> None:
    assert "num_workers follows from worker_share: 4 on this machine" in starter_profile(CPU)
    assert "num_workers is cut to 6 on this machine" in starter_profile(MACHINES[1])


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", ".hidden", "a b", "x" * 61, "a\n"])
def test_invalid_profile_name_is_refused(name: str, private_homes: Path) -> None:
    with pytest.raises(BadInput, match="is not a valid profile name"):
        new_profile(name, CPU)
    assert not list(private_homes.rglob("*.yaml"))


def test_existing_profile_is_not_overwritten(private_homes: Path) -> None:
    path = new_profile("mine", CPU)
    path.write_text("title: precious\n")
    with pytest.raises(BadInput, match="already exists"):
        new_profile("mine", CPU)
    assert path.read_text() == "title: precious\n"


def test_unwritable_profile_folder_is_reported(private_homes: Path) -> None:
    (private_homes / "config").write_text("a file")
    with pytest.raises(BadInput, match=r"cannot be written: (Not a directory|File exists)"):
        new_profile("mine", CPU)
