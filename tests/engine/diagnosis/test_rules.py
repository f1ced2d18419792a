"""The decision tree by table: the cause, the proposed changes and the path for each set of signals."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.diagnosis.made_signals import CPU, FED, FULL, GPU, READING, STARVED, judged

from gputrain.engine.common.units import GIB
from gputrain.engine.diagnosis import input_bound_causes
from gputrain.engine.diagnosis.decision_tree import CAUSES
from gputrain.engine.events import Prediction, Tuned

CACHED = {"cache": "ram"}


def tried(after: float) -> Tuned:
    """A trial of six workers instead of three; predicted were 1,400 to 1,600 img/s, from 1,000 before."""
    return Tuned(
        verdict="reverted",
        changes={"num_workers": 6},
        was={"num_workers": 3},
        step=500,
        before=1000.0,
        after=after,
        prediction=Prediction(low=1400.0, high=1600.0, limiter="the device"),
    )


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
    ("remote shards are waited for", READING, {"download_share": 0.8, "download_rate": 4e7}, "network", {}),
    ("remote shards, but from the cache", READING, {"download_share": 0.1, "epoch": 1}, "disk", {"cache": "ram"}),
    ("they are read again", READING, {"from_disk": 0.9, "epoch": 2}, "cache-thrash", {"cache": "disk"}),
    ("reading comes from memory", GPU, {"read_share": 0.8, "cpu_ratio": 0.95}, "few-workers", {"num_workers": 7}),
    ("workers and others take turns", STARVED, {"foreign_cpu": 2.0}, "cpu-neighbour", {}),
    ("others, without schedstat", STARVED, {"run_delay": None, "foreign_cpu": 3.0}, "data-wait", {}),
    ("surplus workers, without schedstat", STARVED, {"run_delay": None, "workers": 8}, "data-wait", {}),
    ("no other programs, without schedstat", STARVED, {"run_delay": None}, "cpu-saturated", {"cache": "ram"}),
    ("work beside others, without schedstat", FULL, {"run_delay": None, "foreign_cpu": 3.0}, "cpu-saturated", CACHED),
    ("idle cores, without schedstat", GPU, {"run_delay": None}, "few-workers", {"num_workers": 7}),
    ("quota", GPU, {"run_delay": 0.6, "throttled": 0.4}, "cpu-quota", {}),
    ("a part of the cores", {**STARVED, "affinity": 4, "host_cores": 16}, {}, "cpu-affinity", {}),
    ("more workers than cores", STARVED, {"workers": 8}, "oversubscribed", {"num_workers": 3}),
    ("as many workers as cores", STARVED, {"workers": 4, "run_cpu": 2.4}, "cpu-saturated", {"cache": "ram"}),
    ("threads of the workers' libraries", STARVED, {"workers": 4}, "helper-threads", {}),
    ("more workers gained nothing", GPU, {"tried": (tried(1010.0),)}, "shared-wait", {"loader": "processes"}),
    ("more workers gained much", GPU, {"tried": (tried(1500.0),)}, "few-workers", {"num_workers": 7}),
    ("no workers", GPU, {"workers": 0, "kind": "inline", "lock_share": None}, "no-workers", {"num_workers": 2}),
    ("a full CPU is no reason for workers", FULL, {"workers": 0}, "cpu-saturated", {"cache": "ram"}),
    ("the first batch of each epoch", GPU, {"first_wait": 0.3, "busy": 0.5}, "epoch-start", {}),
    ("slow samples block others", GPU, {"busy": 0.3, "slowest": 0.5}, "slow-samples", {"prefetch_factor": 8}),
    ("one at a time", GPU, {"lock_share": 0.7, "cpu_ratio": 0.2}, "lock", {"loader": "processes"}),
    ("nothing fits", GPU, {"busy": 0.8}, "data-wait", {}),
    ("nothing is known", GPU, dict.fromkeys(("busy", "cpu", "run_delay", "read_share", "cpu_ratio")), "data-wait", {}),
    ("saving", FED, {"saving": 0.3}, "checkpoints", {"checkpoint_epochs": 4}),
    ("one of several", FED, {"ranks": 2, "rank_skew": 0.3, "exchange": 0.3, "slowest_rank": 1}, "slow-rank", {}),
    (
        "gradients on the way",
        FED,
        {"ranks": 2, "least_exchange": 0.3},
        "communication",
        {"gradient_compression": "bf16"},
    ),
    ("validating", FED, {"validating": 0.3}, "validation", {"validate_epochs": 2}),
    ("copies", FED, {"copy": 0.4, "compute": 0.57}, "host-copy", {}),
    ("copies that overlap with computing", FED, {"copy": 0.4}, "compute-bound", {}),
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
    ("memory in pieces", FED, {"vram": 0.85, "alloc_retries": 9, "vram_reserved": 2.5}, "vram-pressure", {}),
    ("batches in parts", FED, {"batch_parts": 2}, "out-of-memory", {"gradient_checkpointing": True}),
    ("tasks wait for memory", FED, {"psi_memory_full": 0.15}, "ram-pressure", {"prefetch_factor": 1}),
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
        ({"dataset": "custom"}, "prefetch fewer batches", {"prefetch_factor": 1}),
        ({"cache": "ram"}, "cache=disk", {}),
        ({}, "This run's batches are not in /dev/shm", {}),
    ],
)
def test_shared_memory_hint_depends_on_what_uses_it(
    settings: dict[str, Any], words: str, changes: dict[str, Any]
) -> None:
    hint = judged(FED, settings, shm_used=0.97)["shm-full"]
    assert words in hint.action
    assert hint.changes == changes


def test_each_cause_has_a_case() -> None:
    named = {case[3] for case in CASES} | {"ram-pressure", "no-tensor-cores", "gpu-neighbour"}
    # What only a script of the user's own shows has its case in test_script_rules.
    named |= {"loader-started-twice"}
    # What only a trace shows: in test_trace_rules.
    named |= {"sync-points", "small-operators", "small-cpu-operators", "exposed-copies"}
    assert {cause.id for cause in CAUSES} == named


@pytest.mark.parametrize(
    ("wait", "severity"), [(0.06, "info"), (0.11, "warning"), (0.19, "warning"), (0.21, "critical")]
)
def test_severity_follows_the_share_of_waiting(wait: float, severity: str) -> None:
    assert judged(GPU, wait=wait)["few-workers"].severity == severity


def test_workers_that_wait_for_cores_get_no_advice_to_add_more() -> None:
    assert list(judged(GPU, run_delay=0.2, cpu_ratio=0.75)) == ["workers-at-limit"]


def test_a_small_wait_without_a_cause_gives_no_hint() -> None:
    assert judged(GPU, wait=0.07, busy=0.3, wait_cv=0.4) == {}


def test_hand_over_of_ready_batches_is_not_a_data_wait() -> None:
    assert judged(GPU, wait=0.14, busy=0.2, wait_cv=0.6) == {}
    assert list(judged(GPU, wait=0.14, busy=0.8, wait_cv=0.6)) == ["data-wait"]


def test_low_utilization_during_checkpoints_is_not_small_work() -> None:
    assert list(judged(FED, utilization=60.0, saving=0.3)) == ["checkpoints"]


def test_two_causes_are_sorted_by_cost() -> None:
    assert list(judged(READING, epoch=1, wait=0.3, saving=0.15)) == ["disk", "checkpoints"]
    assert list(judged(READING, epoch=1, wait=0.12, saving=0.25)) == ["checkpoints", "disk"]
    both = judged({**STARVED, "read_share": 0.5, "run_delay": 0.4, "cpu_ratio": 0.1}, epoch=1, foreign_cpu=2.0)
    assert list(both) == ["cpu-neighbour", "disk"]


def test_programs_that_take_the_cores_are_named() -> None:
    found = judged(STARVED, foreign_cpu=2.0, cpu_neighbours=("cc1plus -O2", "stress", "top"))
    assert "2.0 cores (most: cc1plus -O2, stress). Move, stop or renice them" in found["cpu-neighbour"].action


def test_surplus_workers_without_cost_are_an_info_hint() -> None:
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
    assert "precision=auto" in found["no-tensor-cores"].action
    assert list(judged(FED, precision="fp32")) == ["compute-bound"]
    volta = judged(FED, {"tf32": False}, precision="fp32", capability=7.0)["no-tensor-cores"]
    assert "with fp16:" in volta.action


@pytest.mark.parametrize("capability", [6.1, None])
def test_no_tensor_core_hint_without_tensor_cores(capability: float | None) -> None:
    found = judged(FED, {"tf32": False}, precision="fp32", capability=capability)
    assert list(found) == ["compute-bound"]
    assert "bf16" not in found["compute-bound"].action


def test_a_reverted_change_shows_its_measured_result() -> None:
    again = judged(GPU, tried=(tried(1400.0),))["few-workers"]
    assert again.changes == {"num_workers": 7}
    assert again.prediction is not None
    assert again.prediction.high is not None, "that was another change"
    same = Tuned(verdict="reverted", changes=again.changes, step=500, before=990.0, after=1000.0)
    prediction = judged(GPU, tried=(same,))["few-workers"].prediction
    assert prediction is not None
    assert prediction.void == "tried at step 500 and reverted: 990 → 1000 img/s"


def test_other_programs_on_the_gpu_are_an_extra_hint() -> None:
    found = judged(FED, gpu_neighbours=("python",))
    assert list(found) == ["compute-bound", "gpu-neighbour"]
    assert found["gpu-neighbour"].severity == "info"


def test_ninety_percent_of_ram_gives_no_hint() -> None:
    assert "ram-pressure" not in judged(GPU, ram_used=0.90, ram_total=16 * GIB)


def test_full_cpu_without_schedstat_leaves_the_cause_open() -> None:
    """A worker that reads from slow storage while programs fill the CPU: no other program is blamed."""
    slow = {**STARVED, "cpu_ratio": 0.12, "busy": 0.77, "workers": 1, "foreign_cpu": 3.0, "read_share": None}
    (hint,) = judged(slow, run_delay=None, lock_share=None).values()
    assert (hint.id, hint.changes) == ("data-wait", {})
    assert "not measured here: workers waited for a CPU core … of their time" in hint.evidence
    assert "100 %" not in hint.evidence
    assert "no schedstat" in hint.action
    # Read time that may contain waiting for a core is not reported as reading either.
    assert list(judged({**slow, "read_share": 0.85}, run_delay=None)) == ["data-wait"]
    assert list(judged({**slow, "read_share": 0.85}, run_delay=0.02, epoch=1)) == ["disk"]


def test_unmeasured_signals_are_not_shown_as_zero() -> None:
    hint = judged(GPU, run_delay=None)["few-workers"]
    assert "waited for a CPU core" not in hint.evidence.partition("not measured here:")[0]
    assert any("not measured: the workers waited for a CPU core … of their time" in line for line in hint.path)


def test_missing_signals_are_named() -> None:
    hint = judged(GPU, busy=None, run_delay=None, lock_share=None)["data-wait"]
    assert "workers waited for a lock … of their time" in hint.evidence.partition("not measured here: ")[2]
    named = judged(READING, epoch=1, run_delay=None, throttled=None)["disk"]
    assert "not measured here: the quota was used up in … of its periods" in named.evidence


def test_path_shows_each_cause_with_value_and_threshold() -> None:
    path = judged(GPU)["few-workers"].path
    assert any(
        line.startswith("✗ The CPU quota of the cgroup") and "0 % of its periods (needs ≥ 5 %)" in line for line in path
    )
    assert any(line.startswith("✓ Too few data workers") for line in path)
    assert len(path) == sum(len(family) for family in input_bound_causes.FAMILIES)


def test_path_continues_after_the_found_cause() -> None:
    path = judged(READING, epoch=1, lock_share=0.02)["disk"].path
    for line in ("✗ The data workers wait for a lock", "✗ A few slow samples", "✗ Too few data workers"):
        assert any(one.startswith(line) for one in path), line
    crowded = judged(STARVED, foreign_cpu=2.0)["cpu-neighbour"].path
    cause = "Other programs take the cores from the data workers"
    assert f"– More workers than cores: not checked, another cause explains it: {cause}" in crowded
    healthy = judged(FED)["compute-bound"].path
    assert any("data wait" in one or "waited for data" in one for one in healthy)
    assert any(one.startswith("✗ Checkpoints take") for one in healthy)


def test_path_lines_read_like_sentences() -> None:
    lines = " ".join(line for base in (READING, GPU) for hint in judged(base, workers=1).values() for line in hint.path)
    assert "1 workers" not in lines
    assert "(the first is 0)" not in lines
    unknown = " ".join(judged(READING, from_disk=0.9, data_bytes=None)["disk"].path)
    assert "not measured: whether free RAM holds the files" in unknown


@pytest.mark.parametrize(("name", "value"), [("persistent_workers", False), ("pin_memory", False)])
def test_a_setting_that_is_off_is_proposed(name: str, value: object) -> None:
    base, signals = (
        (GPU, {"first_wait": 0.3, "busy": 0.5})
        if name == "persistent_workers"
        else (FED, {"copy": 0.5, "compute": 0.4})
    )
    (hint,) = judged(base, {name: value}, **signals).values()
    assert hint.changes == {name: True}
