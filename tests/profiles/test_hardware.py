"""The built-in hardware profiles: the seeds' values against a table, and sense in the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gputrain.engine.common.units import GIB
from gputrain.engine.configuration import settings
from gputrain.engine.estimates import gpu_memory
from gputrain.profiles import catalog

ON, OFF = True, False
BUILT_IN = sorted(path.stem for path in (Path(catalog.__file__).parent / "hardware").iterdir())
"""Not the catalog's names, which at collection may hold a developer's own profiles."""

SEEDS: dict[tuple[str, str], dict[str, Any]] = {
    # the RTX 3060 guide: "PyTorch | 32-64 | Enabled | 2-4"; num_workers=2 in its code
    ("rtx-3060-12gb", "conservative"): {"batch_size": 32, "num_workers": 2, "precision": "fp16", "pin_memory": ON},
    ("rtx-3060-12gb", "balanced"): {"batch_size": 64, "num_workers": 2, "precision": "fp16", "cudnn_benchmark": ON},
    ("rtx-3060-12gb", "aggressive"): {"batch_size": 64, "num_workers": 4, "non_blocking": ON, "set_to_none": ON},
    # the RTX 3090 guide: 300W-LP memory safe 96, maximum throughput 128, ultra-fast 256
    ("rtx-3090-24gb", "conservative"): {"batch_size": 96, "num_workers": 8, "prefetch_factor": 4, "pin_memory": ON},
    ("rtx-3090-24gb", "balanced"): {"batch_size": 128, "num_workers": 8, "prefetch_factor": 4, "precision": "fp16"},
    ("rtx-3090-24gb", "aggressive"): {"batch_size": 256, "prefetch_factor": 4, "persistent_workers": ON, "tf32": ON},
    # the CPU and GPU guide: OPTIMAL_CONFIG
    ("rtx-3090-24gb", "accumulated"): {
        "batch_size": 64,
        "num_workers": 8,
        "precision": "fp16",
        "pin_memory": ON,
        "prefetch_factor": 3,
        "accumulation_steps": 2,
    },
    # the utilization guide: batch_size 16 "increased from 12", "increase to 20", num_workers 8 and "increase to 12"
    ("rtx-4500-ada-24gb", "conservative"): {"batch_size": 12, "num_workers": 8, "precision": "fp16"},
    ("rtx-4500-ada-24gb", "balanced"): {"batch_size": 16, "num_workers": 8, "precision": "fp16", "pin_memory": ON},
    ("rtx-4500-ada-24gb", "aggressive"): {"batch_size": 20, "num_workers": 12, "precision": "fp16"},
    # the A10G guide: its three presets
    ("a10g-23gb", "conservative"): {"batch_size": 192, "num_workers": 8, "prefetch_factor": 2, "compile": OFF},
    ("a10g-23gb", "balanced"): {"batch_size": 256, "num_workers": 12, "prefetch_factor": 3, "compile": ON},
    ("a10g-23gb", "aggressive"): {"batch_size": 320, "num_workers": 16, "prefetch_factor": 4, "compile": ON},
}


@pytest.mark.parametrize(("name", "preset"), SEEDS)
def test_values_of_the_guides(name: str, preset: str) -> None:
    profile = catalog.load_profile(name)
    values = {**profile.settings, **profile.preset(preset).settings}
    assert {key: values[key] for key in SEEDS[name, preset]} == SEEDS[name, preset]
    assert "guide" in (profile.source + profile.preset(preset).source)


REFERENCE: list[tuple[str, str, dict[str, Any]]] = [
    ("rtx-3090-24gb", "accumulated", {"images_per_second": (7, 7), "gpu_percent": (95, 100)}),
    ("rtx-3090-24gb", "balanced", {"images_per_second": (300, 500), "gpu_percent": (90, 100), "vram_gb": (18, 22)}),
    # the RTX 3090 guide's table of times for 50 epochs: 2.0 and 3.3 times on 300W-LP, 2.25 on BIWI
    ("rtx-3090-24gb", "balanced", {"recipe": "headpose-300wlp", "batch_size": 128, "speed_up": (2.0, 2.0)}),
    ("rtx-3090-24gb", "aggressive", {"recipe": "headpose-300wlp", "batch_size": 256, "speed_up": (3.3, 3.3)}),
    ("rtx-3090-24gb", "balanced", {"recipe": "headpose-biwi", "batch_size": 64, "speed_up": (2.25, 2.25)}),
    ("rtx-4500-ada-24gb", "balanced", {"gpu_percent": (95, 100), "cpu_percent": (25, 40), "vram_gb": (18, 22)}),
    ("rtx-4500-ada-24gb", "balanced", {"iterations_per_second": (0.33, 0.5), "speed_up": (1.5, 2)}),
    # the RTX 3060 guide: 8 s for 5 epochs of 100 images, 1.66 GB, 10-15 times the CPU; TensorFlow 5-8, 22 in inference
    ("rtx-3060-12gb", "conservative", {"images_per_second": (62.5, 62.5), "vram_gb": (1.66, 1.66)}),
    ("rtx-3060-12gb", "conservative", {"model": "simple_cnn", "batch_size": 32, "speed_up": (10, 15)}),
    ("rtx-3060-12gb", "", {"model": "simple_cnn", "images_per_second": (70, 70), "speed_up": (14, 14)}),
    ("rtx-3060-12gb", "", {"model": "mobilenet_v2", "speed_up": (5, 8)}),
    ("rtx-3060-12gb", "", {"model": "mobilenet_v2", "speed_up": (22, 22)}),
    ("a10g-23gb", "conservative", {"iterations_per_second": (0.7, 1.0)}),
    ("a10g-23gb", "balanced", {"iterations_per_second": (0.8, 1.5), "gpu_percent": (70, 90), "vram_gb": (13, 16)}),
    ("a10g-23gb", "aggressive", {"iterations_per_second": (1.0, 2.0)}),
]


@pytest.mark.parametrize(("name", "preset", "figures"), REFERENCE)
def test_references_of_the_seeds(name: str, preset: str, figures: dict[str, Any]) -> None:
    found = [r for r in catalog.load_profile(name).references if r.preset == preset]
    assert [r for r in found if all(getattr(r, key) == value for key, value in figures.items())]


def test_the_speed_up_ladder_of_seed_000() -> None:
    (found,) = catalog.load_profile("rtx-3090-24gb").ladders
    rungs = ("standard", "workers", "mixed precision", "all")
    assert found.images_per_second == dict(zip(rungs, (2.5, 3.5, 5.0, 7.0), strict=True))
    assert found.gpu_percent == dict(zip(rungs, (60, 75, 85, 98), strict=True))
    # 2 h 30 min, 1 h 45 min, 1 h 15 min, 55 min
    assert found.minutes == dict(zip(rungs, (150, 105, 75, 55), strict=True))
    assert (found.speed_up, found.times("workers"), found.times("all"), found.times("cache")) == (2.7, 1.4, 2.7, None)


def test_the_speed_up_breakdown_of_seed_003() -> None:
    (found,) = catalog.load_profile("a10g-23gb").ladders
    gains = {"compile": 1.2, "channels_last": 1.15, "TF32": 1.1, "mixed precision": 2.0, "workers": 1.5}
    assert (found.gains, found.speed_up, found.times("all"), found.times("compile")) == (gains, 3.8, 3.8, None)
    assert found.gain("TF32") == 1.1


def test_reference_ladders_of_the_gpu_or_of_all() -> None:
    assert list(catalog.reference_ladders("a10g-23gb")) == ["a10g-23gb"]
    assert (
        list(catalog.reference_ladders("cpu")) == list(catalog.reference_ladders("")) == ["a10g-23gb", "rtx-3090-24gb"]
    )


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_profile_has_three_presets_and_a_source(name: str) -> None:
    profile = catalog.load_profile(name)
    assert {"conservative", "balanced", "aggressive"} <= set(profile.presets)
    assert profile.default_preset == "balanced"
    assert profile.title
    assert profile.source
    for preset in profile.presets.values():
        settings.build({**profile.settings, **preset.settings})
        assert preset.settings or preset.worker_share or preset.batch_per_gib, "a preset that changes nothing"


@pytest.mark.parametrize("name", BUILT_IN)
def test_batch_size_grows_from_preset_to_preset(name: str) -> None:
    presets = catalog.load_profile(name).presets
    order = [presets[name] for name in ("conservative", "balanced", "aggressive")]
    sizes = [float(preset.settings.get("batch_size", preset.batch_per_gib or 0)) for preset in order]
    assert all(sizes)
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("name", sorted({*BUILT_IN} - {"cpu", "unknown-nvidia"}))
def test_resnet50_fits_each_gpu_in_conservative_and_balanced(name: str) -> None:
    profile = catalog.load_profile(name)
    assert profile.match.memory_gib is not None
    for preset in ("conservative", "balanced"):
        values = {"model": "resnet50", "precision": "fp16", **profile.settings, **profile.preset(preset).settings}
        flat = settings.flatten(settings.build(values))
        if flat["precision"] == "auto":
            flat["precision"] = "fp16" if (profile.match.capability or 7.0) >= 7.0 else "fp32"
        total = gpu_memory.vram_budget(flat, limit=None).total
        assert total is not None
        assert total <= 0.9 * profile.match.memory_gib[0] * GIB, preset
