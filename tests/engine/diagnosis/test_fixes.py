"""Proposed remedies: the mildest one first, complete, and none without effect on the run."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.diagnosis.made_signals import FED, FULL, GPU, READING, judged

from gputrain.engine.common.units import GIB
from gputrain.engine.configuration import keras_compatibility


def test_proposed_prefetch_covers_the_slowest_sample() -> None:
    slow: dict[str, Any] = {"busy": 0.3, "rate": 100.0, "wait": 0.5}
    # 200 images/s are 6.25 batches/s: 2 s are 12.5 batches, for 4 workers 4 each, and one to spare.
    assert judged(GPU, slowest=2.0, **slow)["slow-samples"].changes == {"prefetch_factor": 5}
    assert judged(GPU, slowest=90.0, **slow)["slow-samples"].changes == {"prefetch_factor": 32}
    assert judged(GPU, {"prefetch_factor": 40}, slowest=90.0, **slow)["slow-samples"].changes == {"prefetch_factor": 80}


@pytest.mark.parametrize(
    ("base", "more", "changes"),
    [
        (FULL, {}, {}),
        # The data is on no local disk, and more workers can wait at the same time.
        (READING, {"epoch": 1}, {"num_workers": 7}),
        (READING, {"from_disk": 0.9, "epoch": 2}, {}),
        (GPU, {"run_cpu": 15.9, "cpu": 91.0}, {}),
        (GPU, {"lock_share": 0.7, "cpu_ratio": 0.2, "kind": "processes"}, {}),
    ],
)
def test_custom_data_sets_get_no_advice_without_effect(
    base: dict[str, Any], more: dict[str, Any], changes: dict[str, Any]
) -> None:
    (hint,) = judged(base, {"dataset": "custom"}, **more).values()
    assert hint.changes == changes
    assert "cache" not in hint.action


@pytest.mark.parametrize(
    ("base", "more"),
    [
        (FULL, {}),
        (READING, {"from_disk": 0.9, "epoch": 2}),
        (GPU, {"run_cpu": 15.9, "cpu": 91.0}),
        (FED, {"utilization": 40.0, "vram": 0.2}),
        (FED, {"utilization": 40.0, "vram": 0.97}),
        (FED, {"vram": 0.99, "precision": "bf16"}),
    ],
)
def test_keras_gets_no_advice_for_torch_only_settings(base: dict[str, Any], more: dict[str, Any]) -> None:
    settings = {"engine": "keras", **{name: value for name, (value, _) in keras_compatibility.REPLACED.items()}}
    for hint in judged(base, settings, **more).values():
        assert not hint.changes.keys() & keras_compatibility.REPLACED.keys(), hint
        assert "cache=" not in hint.action


@pytest.mark.parametrize(
    ("own", "lr", "words"),
    [
        ({"lr": 0.1, "lr_batch_size": 256}, None, "0.0125 → 0.025 (lr_batch_size=256)"),
        ({"lr": 0.1, "lr_batch_size": 0}, 0.2, "lr=0.2 instead of 0.1"),
        ({}, None, "Scale the learning rate with the batch size"),
    ],
)
def test_new_batch_size_comes_with_its_learning_rate(own: dict[str, Any], lr: float | None, words: str) -> None:
    own = {**own, "accumulation_steps": 1}
    (hint,) = judged(FED, own, utilization=40.0, vram=0.2).values()
    assert hint.changes["batch_size"] == 64
    assert hint.changes.get("lr") == lr
    assert words in hint.action


@pytest.mark.parametrize(
    ("own", "workers", "changes"),
    [
        ({}, 4, {"prefetch_factor": 1}),
        ({"prefetch_factor": 8}, 4, {"prefetch_factor": 4}),
        ({"prefetch_factor": 1}, 4, {"num_workers": 2}),
        ({"prefetch_factor": 1}, 1, {"batch_size": 16}),
        ({}, 0, {"batch_size": 16}),
        ({"prefetch_factor": 1, "batch_size": 1}, 1, {}),
    ],
)
def test_ram_pressure_proposes_the_mildest_change_first(
    own: dict[str, Any], workers: int, changes: dict[str, Any]
) -> None:
    found = judged(FED, own, workers=workers, ram_used=0.93, ram_total=16 * GIB)
    assert {name: hint.changes for name, hint in found.items()} == {"ram-pressure": changes}
    assert found["ram-pressure"].severity == "warning"


def test_a_slow_network_says_what_it_would_take() -> None:
    slow: dict[str, Any] = {"download_share": 0.8, "download_rate": 60.0 * (1 << 20), "wait": 0.4}
    first = judged(READING, **slow)["network"]
    assert "Shards come at 60 MiB/s; for the device not to wait, it takes 100 MiB/s." in first.action
    assert "Later epochs read the shards from the local cache, as far as the disk has room." in first.action
    later = judged(READING, {"remote_cache_gib": 5.0}, **slow, epoch=1)["network"]
    assert "To keep all shards on this machine, raise remote_cache_gib;" in later.action
    assert first.changes == later.changes == {}


def test_ram_used_by_other_programs_is_not_blamed_on_the_run() -> None:
    hint = judged(FED, ram_used=0.98, ram_total=16 * GIB, run_memory=GIB)["ram-pressure"]
    assert (hint.severity, hint.changes) == ("critical", {})
    assert "Other programs use most of it" in hint.action


def test_slow_checkpoints_become_asynchronous_first() -> None:
    held = judged(FED, {"async_checkpoints": False}, saving=0.3)["checkpoints"]
    assert held.changes == {"async_checkpoints": True}
    best = judged(FED, {"checkpoint_epochs": 0}, saving=0.3)["checkpoints"]
    assert best.changes == {"validate_epochs": 2}
    assert best.prediction is not None
    assert best.prediction.high is not None
