"""The tree by table: which cause is named for which signals, what it proposes, and that no proposal is a bad one."""

from __future__ import annotations

from typing import Any

import pytest

from gputrain.engine.diagnosis.rules import CAUSES, evaluate
from gputrain.engine.diagnosis.signals import Signals
from gputrain.engine.events import Hint
from gputrain.engine.units import GIB

SETTINGS = {"num_workers": 4, "batch_size": 32, "prefetch_factor": 2, "persistent_workers": True, "cache": "none"}
SETTINGS |= {"compile": False, "channels_last": True, "tf32": True}
GPU: dict[str, Any] = {
    "on_gpu": True,
    "precision": "bf16",
    "utilization": 40.0,
    "usable_cores": 16.0,
    "host_cores": 16,
    "affinity": 16,
    "cpu": 30.0,
    "run_cpu": 4.8,
    "foreign_cpu": 0.0,
    "throttled": 0.0,
    "workers": 4,
    "kind": "threads",
    "rate": 1000.0,
    "sample_rate": 1000.0,
    "busy": 0.97,
    "cpu_ratio": 0.9,
    "run_delay": 0.02,
    "read_share": 0.1,
    "lock_share": 0.03,
    "from_disk": 0.0,
    "data_bytes": GIB,
    "ram_used": 0.4,
    "ram_total": 64 * GIB,
    "slowest": 0.005,
    "wait_cv": 2.0,
    "wait": 0.4,
    "compute": 0.58,
}
"""Workers that decode as fast as they can, and too few of them."""
FULL = {**GPU, "cpu": 99.0, "usable_cores": 4.0, "affinity": 4, "host_cores": 4, "run_cpu": 3.9, "workers": 3}
STARVED = {**FULL, "run_delay": 0.6, "cpu_ratio": 0.38}
READING = {**GPU, "read_share": 0.9, "cpu_ratio": 0.06}
FED = {**GPU, "wait": 0.01, "busy": 0.3, "compute": 0.97, "utilization": 97.0}
"""A GPU that gets its data in time."""
CPU = {**FED, "on_gpu": False, "utilization": None, "precision": "fp32", "usable_cores": 4.0, "workers": 2}


def judged(base: dict[str, Any], changed: dict[str, Any] | None = None, **more: Any) -> dict[str, Hint]:
    return evaluate(Signals(settings={**SETTINGS, **(changed or {})}, **{**base, **more}))


CASES: list[tuple[str, dict[str, Any], dict[str, Any], str, dict[str, Any]]] = [
    ("idle cores and busy workers", GPU, {}, "few-workers", {"num_workers": 7}),
    ("the wait is small", GPU, {"wait": 0.06}, "few-workers", {"num_workers": 5}),
    ("workers that wait for a network", GPU, {"cpu_ratio": 0.1, "read_share": 0.0}, "few-workers", {"num_workers": 7}),
    ("workers fill the cores' use", GPU, {"run_cpu": 15.9, "cpu": 91.0}, "workers-at-limit", {"cache": "ram"}),
    ("decoding needs all cores", FULL, {}, "cpu-saturated", {"cache": "ram"}),
    ("no RAM is left for a cache", FULL, {"ram_used": 0.85}, "cpu-saturated", {}),
    ("the disk is slow", READING, {"epoch": 1}, "disk", {"cache": "ram"}),
    ("the disk is read the first time", READING, {"from_disk": 0.9}, "cold-cache", {}),
    ("the files do not fit", READING, {"from_disk": 0.9, "data_bytes": 60 * GIB}, "disk", {"cache": "ram"}),
    ("they are read again", READING, {"from_disk": 0.9, "epoch": 2}, "cache-thrash", {"cache": "disk"}),
    ("reading comes from memory", GPU, {"read_share": 0.8, "cpu_ratio": 0.95}, "few-workers", {"num_workers": 7}),
    ("workers and others take turns", STARVED, {"foreign_cpu": 2.0}, "cpu-neighbour", {}),
    ("without schedstat", STARVED, {"run_delay": None, "foreign_cpu": 3.0}, "cpu-neighbour", {}),
    ("quota", GPU, {"run_delay": 0.6, "throttled": 0.4}, "cpu-quota", {}),
    ("a part of the cores", {**STARVED, "affinity": 4, "host_cores": 16}, {}, "cpu-affinity", {}),
    ("more workers than cores", STARVED, {"workers": 8}, "oversubscribed", {"num_workers": 3}),
    ("as many workers as cores", STARVED, {"workers": 4}, "cpu-saturated", {"cache": "ram"}),
    ("no workers", GPU, {"workers": 0, "kind": "inline", "lock_share": None}, "no-workers", {"num_workers": 2}),
    ("a full CPU is no reason for workers", FULL, {"workers": 0}, "cpu-saturated", {"cache": "ram"}),
    ("the first batch of each epoch", GPU, {"first_wait": 0.3, "busy": 0.5}, "epoch-start", {}),
    ("slow samples block others", GPU, {"busy": 0.3, "slowest": 0.5}, "slow-samples", {"prefetch_factor": 8}),
    ("one at a time", GPU, {"lock_share": 0.7, "cpu_ratio": 0.2}, "lock", {"loader": "processes"}),
    ("nothing fits", GPU, {"busy": 0.8}, "data-wait", {}),
    ("nothing is known", GPU, dict.fromkeys(("busy", "cpu", "run_delay", "read_share", "cpu_ratio")), "data-wait", {}),
    ("saving", FED, {"saving": 0.3}, "checkpoints", {"checkpoint_epochs": 4}),
    ("validating", FED, {"validating": 0.3}, "validation", {"validate_epochs": 2}),
    ("copies", FED, {"copy": 0.4, "compute": 0.57}, "host-copy", {}),
    ("copies beside the computing", FED, {"copy": 0.4}, "compute-bound", {}),
    ("launching", FED, {"launch_gap": 0.4, "compute": 0.5, "step_seconds": 0.01}, "launch-bound", {"compile": True}),
    ("the host", FED, {"launch_gap": 0.4, "compute": 0.5, "step_seconds": 0.2}, "host-bound", {"compile": True}),
    ("little work", FED, {"utilization": 40.0}, "small-work", {"compile": True}),
    (
        "little work, much room",
        FED,
        {"utilization": 40.0, "vram": 0.2},
        "small-work",
        {"batch_size": 64, "compile": True},
    ),
    ("half-empty kernels", FED, {"sm_activity": 0.2}, "inefficient", {"compile": True}),
    ("too hot", FED, {"clock": 0.6, "slowed_by": ("hardware thermal",)}, "throttled", {}),
    ("a power cap that costs little", FED, {"clock": 0.92, "slowed_by": ("power cap",)}, "compute-bound", {}),
    ("full memory", FED, {"vram": 0.97, "alloc_retries": 4}, "vram-pressure", {"gradient_checkpointing": True}),
    ("well-used memory", FED, {"vram": 0.97, "alloc_retries": 0}, "compute-bound", {}),
    ("full shared memory", FED, {"shm_used": 0.97}, "shm-full", {}),
    ("a busy GPU", FED, {}, "compute-bound", {}),
    ("a MIG instance", FED, {"utilization": None}, "compute-bound", {}),
    ("a full CPU that trains", CPU, {"cpu": 99.0}, "cpu-compute", {}),
    ("others on it", CPU, {"cpu": 99.0, "foreign_cpu": 2.0}, "cpu-contention", {}),
    ("something small on it", CPU, {"cpu": 99.0, "foreign_cpu": 0.5}, "cpu-compute", {}),
    ("a CPU of which a part is used", CPU, {}, "compute-bound", {}),
]


@pytest.mark.parametrize(("base", "more", "cause", "changes"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_one_cause_is_named_and_a_change_proposed(
    base: dict[str, Any], more: dict[str, Any], cause: str, changes: dict[str, Any]
) -> None:
    found = judged(base, **more)
    assert list(found) == [cause]
    assert found[cause].changes == changes
    assert found[cause].path
    assert found[cause].disproof


@pytest.mark.parametrize(
    ("settings", "words", "changes"),
    [
        ({"dataset": "custom"}, "fewer batches ready", {"prefetch_factor": 1}),
        ({"cache": "ram"}, "cache=disk", {}),
        ({}, "the batches of this run lie elsewhere", {}),
    ],
)
def test_shared_memory_is_given_back_by_what_lies_in_it(
    settings: dict[str, Any], words: str, changes: dict[str, Any]
) -> None:
    hint = judged(FED, settings, shm_used=0.97)["shm-full"]
    assert words in hint.action
    assert hint.changes == changes


def test_each_cause_has_a_case() -> None:
    named = {case[3] for case in CASES} | {"ram-pressure", "no-tensor-cores", "gpu-neighbour"}
    assert {cause.id for cause in CAUSES} == named


@pytest.mark.parametrize(
    ("wait", "severity"), [(0.06, "info"), (0.11, "warning"), (0.19, "warning"), (0.21, "critical")]
)
def test_the_wait_decides_how_grave_it_is(wait: float, severity: str) -> None:
    assert judged(GPU, wait=wait)["few-workers"].severity == severity


def test_workers_that_wait_for_cores_do_not_call_for_more() -> None:
    assert list(judged(GPU, run_delay=0.2, cpu_ratio=0.75)) == ["workers-at-limit"]


def test_a_small_wait_without_a_cause_is_no_alarm() -> None:
    assert judged(GPU, wait=0.07, busy=0.3, wait_cv=0.4) == {}


def test_batches_that_are_ready_are_no_wait_for_data() -> None:
    assert judged(GPU, wait=0.14, busy=0.2, wait_cv=0.6) == {}
    assert list(judged(GPU, wait=0.14, busy=0.8, wait_cv=0.6)) == ["data-wait"]


def test_a_gpu_that_rests_while_the_run_saves_has_not_too_little_work() -> None:
    assert list(judged(FED, utilization=60.0, saving=0.3)) == ["checkpoints"]


def test_the_queue_that_is_proposed_lasts_as_long_as_the_slowest_sample() -> None:
    slow: dict[str, Any] = {"busy": 0.3, "rate": 100.0, "wait": 0.5}
    # 200 images/s are 6.25 batches/s: 2 s are 12.5 batches, for 4 workers 4 each, and one to spare.
    assert judged(GPU, slowest=2.0, **slow)["slow-samples"].changes == {"prefetch_factor": 5}
    assert judged(GPU, slowest=90.0, **slow)["slow-samples"].changes == {"prefetch_factor": 32}
    assert judged(GPU, {"prefetch_factor": 40}, slowest=90.0, **slow)["slow-samples"].changes == {"prefetch_factor": 80}


def test_two_causes_are_both_named_the_costlier_first() -> None:
    assert list(judged(READING, epoch=1, wait=0.3, saving=0.15)) == ["disk", "checkpoints"]
    assert list(judged(READING, epoch=1, wait=0.12, saving=0.25)) == ["checkpoints", "disk"]
    both = judged({**STARVED, "read_share": 0.5, "run_delay": 0.4, "cpu_ratio": 0.1}, epoch=1, foreign_cpu=2.0)
    assert list(both) == ["cpu-neighbour", "disk"]


def test_who_takes_the_cores_is_named() -> None:
    found = judged(STARVED, foreign_cpu=2.0, cpu_neighbours=("cc1plus -O2", "stress", "top"))
    assert "2.0 cores (most: cc1plus -O2, stress): move or renice them" in found["cpu-neighbour"].action


def test_surplus_workers_that_nobody_waits_for_are_a_remark() -> None:
    found = judged({**STARVED, "utilization": 97.0, "compute": 0.97}, workers=8, wait=0.01)
    assert list(found) == ["oversubscribed", "compute-bound"]
    assert found["oversubscribed"].severity == "info"
    assert found["oversubscribed"].changes == {"num_workers": 3}


def test_neighbours_of_a_training_on_the_cpu_are_named_once() -> None:
    base = {**CPU, "cpu": 99.0, "foreign_cpu": 2.0, "run_delay": 0.6, "cpu_ratio": 0.3, "busy": 0.9}
    assert list(judged(base, wait=0.08)) == ["cpu-neighbour"]
    assert list(judged(base, wait=0.01)) == ["cpu-contention"]


def test_plain_float32_is_named_unless_tf32_is_on() -> None:
    found = judged(FED, {"tf32": False}, precision="fp32")
    assert found["no-tensor-cores"].changes == {"precision": "auto"}
    assert list(judged(FED, precision="fp32")) == ["compute-bound"]


def test_a_neighbour_on_the_gpu_is_named_beside_the_verdict() -> None:
    found = judged(FED, gpu_neighbours=("python",))
    assert list(found) == ["compute-bound", "gpu-neighbour"]
    assert found["gpu-neighbour"].severity == "info"


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
def test_scarce_ram_takes_the_mildest_remedy_first(own: dict[str, Any], workers: int, changes: dict[str, Any]) -> None:
    found = judged(FED, own, workers=workers, ram_used=0.93, ram_total=16 * GIB)
    assert {name: hint.changes for name, hint in found.items()} == {"ram-pressure": changes}
    assert found["ram-pressure"].severity == "warning"


def test_ram_that_others_use_is_not_blamed_on_the_run() -> None:
    hint = judged(FED, ram_used=0.98, ram_total=16 * GIB, run_memory=GIB)["ram-pressure"]
    assert (hint.severity, hint.changes) == ("critical", {})
    assert "others" in hint.action


def test_at_ninety_percent_ram_is_not_scarce_yet() -> None:
    assert "ram-pressure" not in judged(GPU, ram_used=0.90, ram_total=16 * GIB)


def test_a_missing_signal_is_said_and_nothing_is_guessed() -> None:
    hint = judged(GPU, busy=None, run_delay=None, lock_share=None)["data-wait"]
    assert "not measured here: workers waited for a lock … of their time" in hint.evidence
    named = judged(READING, epoch=1, run_delay=None, throttled=None)["disk"]
    assert "not measured here: the quota ran out in … of its periods" in named.evidence


def test_the_path_tells_what_was_asked_and_why_the_others_are_out() -> None:
    path = judged(GPU)["few-workers"].path
    assert any(
        line.startswith("✗ The cgroup's CPU quota") and "0 % of its periods (asked: ≥ 5 %)" in line for line in path
    )
    assert path[-1].startswith("✓ Too few data workers")


@pytest.mark.parametrize(("name", "value"), [("persistent_workers", False), ("pin_memory", False)])
def test_a_setting_that_is_off_is_proposed(name: str, value: object) -> None:
    base, signals = (
        (GPU, {"first_wait": 0.3, "busy": 0.5})
        if name == "persistent_workers"
        else (FED, {"copy": 0.5, "compute": 0.4})
    )
    (hint,) = judged(base, {name: value}, **signals).values()
    assert hint.changes == {name: True}


def test_more_workers_are_promised_what_the_next_limit_allows() -> None:
    promised = judged(GPU)["few-workers"].prediction
    assert promised is not None
    # 7 workers of 257.7 images/s each are above what the device takes between waits.
    assert promised.high == pytest.approx(1000 / 0.6, abs=0.1)
    assert promised.low == pytest.approx(0.88 * 1000 / 0.6, abs=0.1)
    assert promised.limiter == "the device"
    few_cores = judged(GPU, usable_cores=6.0, cpu=80.0)["few-workers"].prediction
    assert few_cores is not None
    assert few_cores.limiter == "the CPU's cores"


@pytest.mark.parametrize(
    ("base", "more", "word"),
    [
        (GPU, {"foreign_cpu": 1.0}, "others use 1.0 cores"),
        (READING, {"epoch": 1}, "the cache"),
        (FED, {"utilization": 40.0}, "a step costs"),
        (GPU, {"workers": 0, "rate": None, "sample_rate": None}, "too little"),
    ],
)
def test_nothing_is_promised_where_nobody_can_know(base: dict[str, Any], more: dict[str, Any], word: str) -> None:
    (hint,) = judged(base, **more).values()
    assert hint.prediction is not None
    assert hint.prediction.high is None
    assert word in hint.prediction.void
