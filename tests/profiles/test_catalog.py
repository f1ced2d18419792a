"""Finding profiles and recipes: user files, broken files, names, and the ranking for a machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from fakes.machines import NO_GPU, with_gpu

from gputrain.engine.common.errors import BadInput
from gputrain.profiles import catalog

CPU = msgspec.structs.replace(NO_GPU, usable_cores=6.0)

OWN = """\
title: Mine
match:
  names: [NVIDIA GeForce RTX 3090]
presets:
  balanced: {batch_size: 7}
"""


def profile_names() -> set[str]:
    return {entry.name for entry in catalog.profile_entries()}


def recipe_names() -> set[str]:
    return {entry.name for entry in catalog.recipe_entries()}


@pytest.fixture
def own(private_homes: Path) -> Path:
    """The user's folder of profiles."""
    folder = private_homes / "config" / "profiles"
    folder.mkdir(parents=True)
    return folder


def test_profiles_of_the_seeds_and_recipes_exist() -> None:
    assert {"rtx-3060-12gb", "rtx-3090-24gb", "rtx-4500-ada-24gb", "a10g-23gb", "cpu"} <= profile_names()
    recipes = {"demo", "resnet50-imagefolder", "imagenet-resnet50", "efficientnet-imagefolder", "simple-cnn"}
    assert {
        *recipes,
        "mobilenet-v2",
        "cifar10",
        "headpose-300wlp",
        "headpose-biwi",
        "custom",
        "deepfake-convlstm",
    } <= recipe_names()
    assert not [e for e in (*catalog.profile_entries(), *catalog.recipe_entries()) if e.error]


@pytest.mark.parametrize("name", ["", "..", "../recipes/demo", "/etc/passwd", "rtx-3090-24gb.yaml", "x\x1b[31m"])
def test_only_listed_names_open_files(name: str) -> None:
    with pytest.raises(BadInput, match="unknown profile") as caught:
        catalog.load_profile(name)
    assert str(caught.value).isprintable()


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(BadInput, match="unknown profile 'rtx-3090'; did you mean 'rtx-3090-24gb'"):
        catalog.load_profile("rtx-3090")
    with pytest.raises(BadInput, match="unknown recipe 'dmo'; did you mean 'demo'"):
        catalog.load_recipe("dmo")


def test_user_file_replaces_a_built_in_one(own: Path) -> None:
    (own / "rtx-3090-24gb.yaml").write_text(OWN)
    assert catalog.load_profile("rtx-3090-24gb").title == "Mine"
    entry = next(e for e in catalog.profile_entries() if e.name == "rtx-3090-24gb")
    assert entry.own
    assert entry.title == "Mine"


def test_user_recipe_is_found(private_homes: Path) -> None:
    folder = private_homes / "config" / "recipes"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("title: Mine\nsettings: {epochs: 3}\n")
    assert catalog.load_recipe("mine").settings == {"epochs": 3}
    assert "mine" in recipe_names()


def test_edited_file_is_read_again(own: Path) -> None:
    path = own / "mine.yaml"
    path.write_text(OWN)
    assert catalog.load_profile("mine").preset().settings == {"batch_size": 7}
    path.write_text(OWN.replace("7", "8 "))
    assert catalog.load_profile("mine").preset().settings == {"batch_size": 8}


def test_broken_file_is_listed_with_its_error(own: Path) -> None:
    (own / "mine.yaml").write_text("title: x\nmatch: {}\npresets: {balanced: {batch_size: 0}}\n")
    (own / "notes.txt").write_text("not a profile")
    ranked = catalog.rank(CPU)
    assert ranked[0].name == "cpu"
    assert ranked[-1].name == "mine"
    assert "mine.yaml:3: batch_size must be ≥ 1, got 0" in ranked[-1].error
    assert "notes" not in profile_names()
    with pytest.raises(BadInput, match="batch_size must be ≥ 1"):
        catalog.load_profile("mine")


def test_broken_user_file_is_not_replaced_silently(own: Path) -> None:
    (own / "cpu.yaml").write_text("title: [\n")
    with pytest.raises(BadInput, match="not valid YAML"):
        catalog.load_profile("cpu")
    assert catalog.best(CPU) != "cpu"


def test_preset_for_an_unknown_recipe_is_an_error(own: Path) -> None:
    (own / "mine.yaml").write_text(OWN.replace("7}", "7, recipes: {dmo: {batch_size: 3}}}"))
    with pytest.raises(BadInput, match="preset balanced is for an unknown recipe 'dmo'; did you mean 'demo'"):
        catalog.load_profile("mine")


def test_dangling_link_is_an_error(own: Path) -> None:
    (own / "gone.yaml").symlink_to(own / "nowhere")
    assert "cannot be read" in next(e.error for e in catalog.profile_entries() if e.name == "gone")


DETECTED = [
    ("NVIDIA GeForce RTX 3060", 12.0, (8, 6), "rtx-3060-12gb"),
    ("GeForce RTX 3060", 12.0, (8, 6), "rtx-3060-12gb"),
    ("NVIDIA GeForce RTX 3090", 24.0, (8, 6), "rtx-3090-24gb"),
    ("NVIDIA GeForce RTX 3090 Ti", 24.0, (8, 6), "rtx-3090-24gb"),
    ("NVIDIA RTX 4500 Ada Generation", 24.0, (8, 9), "rtx-4500-ada-24gb"),
    ("NVIDIA A10G", 22.5, (8, 6), "a10g-23gb"),
    # Memory as NVML reports it: HBM and ECC cards report less than their names say.
    ("NVIDIA GeForce GTX 1080 Ti", 11.0, (6, 1), "gtx-1080-ti-11gb"),
    ("Tesla T4", 15.0, (7, 5), "t4-16gb"),
    ("NVIDIA GeForce RTX 2080 Ti", 11.0, (7, 5), "rtx-2080-ti-11gb"),
    ("NVIDIA GeForce RTX 3070", 8.0, (8, 6), "rtx-3070-8gb"),
    ("NVIDIA GeForce RTX 3080", 10.0, (8, 6), "rtx-3080-10gb"),
    ("NVIDIA GeForce RTX 3080", 12.0, (8, 6), "rtx-3080-ti-12gb"),
    ("NVIDIA GeForce RTX 3080 Ti", 12.0, (8, 6), "rtx-3080-ti-12gb"),
    ("NVIDIA GeForce RTX 4060 Ti", 16.0, (8, 9), "rtx-4060-ti-16gb"),
    ("NVIDIA GeForce RTX 4060 Ti", 8.0, (8, 9), "unknown-nvidia"),
    ("NVIDIA GeForce RTX 4070", 12.0, (8, 9), "rtx-4070-12gb"),
    ("NVIDIA GeForce RTX 4070 Ti SUPER", 16.0, (8, 9), "rtx-4080-16gb"),
    ("NVIDIA GeForce RTX 4080", 16.0, (8, 9), "rtx-4080-16gb"),
    ("NVIDIA GeForce RTX 4090", 24.0, (8, 9), "rtx-4090-24gb"),
    ("NVIDIA GeForce RTX 5070 Ti", 15.9, (12, 0), "rtx-5070-ti-16gb"),
    ("NVIDIA GeForce RTX 5080", 15.9, (12, 0), "rtx-5080-16gb"),
    ("NVIDIA GeForce RTX 5090", 31.8, (12, 0), "rtx-5090-32gb"),
    ("NVIDIA RTX A4000", 16.0, (8, 6), "rtx-a4000-16gb"),
    ("NVIDIA RTX A5000", 22.5, (8, 6), "rtx-a5000-24gb"),
    ("NVIDIA RTX A6000", 48.0, (8, 6), "rtx-a6000-48gb"),
    ("NVIDIA RTX 6000 Ada Generation", 48.0, (8, 9), "rtx-6000-ada-48gb"),
    ("NVIDIA L4", 22.5, (8, 9), "l4-24gb"),
    ("NVIDIA L40S", 45.0, (8, 9), "l40s-48gb"),
    ("Tesla V100-SXM2-16GB", 16.0, (7, 0), "v100-16gb"),
    ("Tesla V100-SXM2-32GB", 31.7, (7, 0), "v100-32gb"),
    ("NVIDIA A100-SXM4-40GB", 40.0, (8, 0), "a100-40gb"),
    ("NVIDIA A100-SXM4-80GB", 80.0, (8, 0), "a100-80gb"),
    ("NVIDIA A100 80GB PCIe", 80.0, (8, 0), "a100-80gb"),
    ("NVIDIA H100 80GB HBM3", 79.6, (9, 0), "h100-80gb"),
    ("NVIDIA H100 PCIe", 79.6, (9, 0), "h100-80gb"),
    ("NVIDIA H200", 140.4, (9, 0), "h200-141gb"),
    ("NVIDIA B200", 179.1, (10, 0), "b200-180gb"),
    ("NVIDIA GeForce RTX 3080 Laptop GPU", 16.0, (8, 6), "laptop-16gb"),
    ("NVIDIA GeForce RTX 4060 Laptop GPU", 8.0, (8, 9), "laptop-8gb"),
    ("NVIDIA GeForce RTX 2080 with Max-Q Design", 8.0, (7, 5), "laptop-8gb"),
    ("NVIDIA GeForce RTX 3060", 8.0, (8, 6), "unknown-nvidia"),
    ("NVIDIA GeForce RTX 9999", 64.0, (13, 0), "unknown-nvidia"),
    ("NVIDIA GeForce RTX 3090", None, None, "unknown-nvidia"),
]


@pytest.mark.parametrize(("name", "gib", "capability", "expected"), DETECTED)
def test_gpu_is_matched_to_its_profile(
    name: str, gib: float | None, capability: tuple[int, int] | None, expected: str
) -> None:
    machine = with_gpu(name, gib, capability)
    ranked = catalog.rank(machine)
    assert ranked[0].name == expected == catalog.best(machine)
    assert [m.name for m in ranked if m.detected] == [expected]
    assert ranked[0].reason.startswith(f"NVML reports {name}, ")
    assert sorted(m.name for m in ranked) == sorted(profile_names())


def test_match_reasons_in_words() -> None:
    reasons = {m.name: m.reason for m in catalog.rank(with_gpu("NVIDIA A10G", 22.5, (8, 6)))}
    assert reasons["a10g-23gb"] == "NVML reports NVIDIA A10G, 22 GiB"
    assert reasons["rtx-3090-24gb"].startswith("for another card of the same size and generation")
    assert reasons["rtx-3060-12gb"].startswith("for another card (")
    assert reasons["cpu"] == "leaves the GPU alone; 16 usable cores"


def test_without_a_driver_the_cpu_profile_is_first() -> None:
    ranked = catalog.rank(CPU)
    assert (ranked[0].name, ranked[0].detected) == ("cpu", True)
    assert ranked[0].reason == "no NVIDIA driver; 6 usable cores"
    assert not any(match.detected for match in ranked[1:])


def test_user_profile_comes_before_the_built_in_one(own: Path) -> None:
    (own / "zz-mine.yaml").write_text(OWN)
    ranked = catalog.rank(with_gpu("NVIDIA GeForce RTX 3090", 24.0, (8, 6)))
    assert [m.name for m in ranked[:2]] == ["zz-mine", "rtx-3090-24gb"]
    assert ranked[0].own


def test_gpu_name_is_sanitized() -> None:
    ranked = catalog.rank(with_gpu("Evil\x1b[31m\nGPU", 8.0, (8, 6)))
    assert all(match.reason.isprintable() for match in ranked)


def test_profiles_and_recipes_can_be_printed_as_json() -> None:
    for name in profile_names():
        assert msgspec.json.decode(msgspec.json.encode(catalog.load_profile(name)))["name"] == name
    for name in recipe_names():
        assert msgspec.json.decode(msgspec.json.encode(catalog.load_recipe(name)))["name"] == name
