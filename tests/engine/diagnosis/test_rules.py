"""The rules by table: which one speaks for which signals, what it proposes, and that no proposal is a bad one."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gputrain.engine.diagnosis.rules import RULES, TARGETS, evaluate
from gputrain.engine.diagnosis.signals import Signals
from gputrain.engine.events import Hint
from gputrain.engine.settings import build
from gputrain.engine.units import GIB

SETTINGS = {"num_workers": 4, "batch_size": 32, "prefetch_factor": 2, "persistent_workers": True, "cache": "none"}
GPU: dict[str, Any] = {
    "on_gpu": True,
    "utilization": 40.0,
    "usable_cores": 16.0,
    "cpu": 30.0,
    "workers": 4,
    "busy": 0.97,
    "run_delay": 0.02,
    "read_share": 0.1,
    "wait": 0.4,
    "compute": 0.58,
}
FULL = {**GPU, "cpu": 99.0, "usable_cores": 4.0, "workers": 3}
CPU = {**GPU, "on_gpu": False, "utilization": None, "usable_cores": 4.0, "workers": 2}


def judged(base: dict[str, Any], changed: dict[str, Any] | None = None, **more: Any) -> dict[str, Hint]:
    return evaluate(Signals(settings={**SETTINGS, **(changed or {})}, **{**base, **more}))


CASES: list[tuple[str, dict[str, Any], dict[str, Any], str, dict[str, Any]]] = [
    ("idle cores and busy workers", GPU, {}, "few-workers", {"num_workers": 12}),
    ("few cores are idle", GPU, {"cpu": 90.0}, "few-workers", {"num_workers": 5}),
    ("workers fill their part of the cores", GPU, {"workers": 12}, "workers-at-limit", {"cache": "ram"}),
    ("decoding needs all cores", FULL, {}, "cpu-saturated", {"cache": "ram"}),
    ("no RAM is left for a cache", FULL, {"ram_used": 0.85}, "cpu-saturated", {}),
    ("reading needs the disk", GPU, {"read_share": 0.8, "from_disk": 0.9}, "disk", {"cache": "ram"}),
    ("reading, and nobody knows from where", GPU, {"read_share": 0.8}, "disk", {"cache": "ram"}),
    (
        "reading comes from memory",
        GPU,
        {"read_share": 0.8, "from_disk": 0.0},
        "few-workers",
        {"num_workers": 12},
    ),
    ("more workers than cores", FULL, {"workers": 8, "run_delay": 0.6}, "oversubscribed", {"num_workers": 3}),
    (
        "more workers than cores beside a busy GPU",
        FULL,
        {"workers": 8, "run_delay": 0.6, "wait": 0.01, "compute": 0.98, "utilization": 99.0},
        "oversubscribed",
        {"num_workers": 3},
    ),
    (
        "more workers than cores, on which the CPU trains",
        CPU,
        {"workers": 8, "run_delay": 0.6, "wait": 0.01, "compute": 0.98, "cpu": 99.0},
        "oversubscribed",
        {"num_workers": 3},
    ),
    ("as many workers as cores", FULL, {"workers": 4, "run_delay": 0.6}, "cpu-saturated", {"cache": "ram"}),
    ("quota", GPU, {"run_delay": 0.6, "throttled": 0.4}, "cpu-quota", {}),
    ("another program", FULL, {"run_delay": 0.6, "foreign_cpu": 3.0}, "cpu-neighbour", {}),
    ("another program, without schedstat", FULL, {"run_delay": None, "foreign_cpu": 3.0}, "cpu-neighbour", {}),
    ("a small other program", FULL, {"foreign_cpu": 0.5}, "cpu-saturated", {"cache": "ram"}),
    ("no workers", GPU, {"workers": 0, "busy": None}, "no-workers", {"num_workers": 2}),
    ("the first batch of each epoch", GPU, {"first_wait": 0.3}, "epoch-start", {}),
    ("one slow sample blocks the others", GPU, {"busy": 0.3}, "slow-samples", {"prefetch_factor": 4}),
    ("nothing fits", GPU, {"busy": 0.8}, "data-wait", {}),
    ("nothing is known", GPU, {"busy": None, "cpu": None, "run_delay": None, "read_share": None}, "data-wait", {}),
    ("launch-bound", GPU, {"wait": 0.02, "compute": 0.95}, "small-work", {"compile": True}),
    (
        "launch-bound with room in the GPU's memory",
        GPU,
        {"wait": 0.02, "compute": 0.95, "vram": 0.2},
        "small-work",
        {"batch_size": 64, "compile": True},
    ),
    ("the host holds the GPU up", GPU, {"wait": 0.02, "other": 0.4, "compute": 0.5}, "host-bound", {"compile": True}),
    ("copies", GPU, {"wait": 0.02, "copy": 0.4}, "host-copy", {}),
    ("a busy GPU", GPU, {"wait": 0.02, "compute": 0.97, "utilization": 99.0}, "compute-bound", {}),
    ("a MIG instance", GPU, {"wait": 0.02, "compute": 0.97, "utilization": None}, "compute-bound", {}),
    ("training on a full CPU", CPU, {"wait": 0.01, "compute": 0.98, "cpu": 99.0}, "cpu-compute", {}),
    (
        "training on a full CPU that others use too",
        CPU,
        {"wait": 0.01, "compute": 0.98, "cpu": 99.0, "foreign_cpu": 2.0},
        "cpu-contention",
        {},
    ),
    (
        "training on a full CPU beside something small",
        CPU,
        {"wait": 0.01, "compute": 0.98, "cpu": 99.0, "foreign_cpu": 0.5},
        "cpu-compute",
        {},
    ),
    ("training on a CPU of which a part is used", CPU, {"wait": 0.01, "compute": 0.98}, "compute-bound", {}),
    ("training and decoding on a full CPU", CPU, {"cpu": 99.0}, "cpu-saturated", {"cache": "ram"}),
    ("a waiting CPU with idle cores", CPU, {"cpu": 40.0}, "few-workers", {"num_workers": 3}),
]


@pytest.mark.parametrize(("base", "more", "rule", "changes"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_one_rule_speaks_and_proposes(
    base: dict[str, Any], more: dict[str, Any], rule: str, changes: dict[str, Any]
) -> None:
    found = judged(base, **more)
    assert list(found) == [rule]
    assert found[rule].changes == changes


@pytest.mark.parametrize(("wait", "severity"), [(0.11, "warning"), (0.19, "warning"), (0.21, "critical")])
def test_the_wait_decides_how_grave_it_is(wait: float, severity: str) -> None:
    assert judged(GPU, wait=wait)["few-workers"].severity == severity


def test_surplus_workers_that_nobody_waits_for_are_no_warning() -> None:
    for base in (FULL, CPU):
        hint = judged(base, workers=8, run_delay=0.6, wait=0.01, cpu=99.0)["oversubscribed"]
        assert hint.severity == "info"


def test_between_little_and_much_nothing_is_said() -> None:
    assert judged(GPU, wait=0.07, compute=0.9, utilization=85.0) == {}


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
    found = judged(GPU, own, wait=0.07, utilization=85.0, workers=workers, ram_used=0.93, ram_total=16 * GIB)
    assert {name: hint.changes for name, hint in found.items()} == {"ram-pressure": changes}
    assert found["ram-pressure"].severity == "warning"


def test_ram_that_others_use_is_not_blamed_on_the_run() -> None:
    hint = judged(GPU, ram_used=0.98, ram_total=16 * GIB, run_memory=GIB)["ram-pressure"]
    assert (hint.severity, hint.changes) == ("critical", {})
    assert "others" in hint.title


def test_at_ninety_percent_ram_is_not_scarce_yet() -> None:
    assert "ram-pressure" not in judged(GPU, ram_used=0.90, ram_total=16 * GIB)


def test_a_full_cpu_never_leads_to_more_workers() -> None:
    for base in (FULL, {**CPU, "cpu": 99.0}):
        hint = judged(base)["cpu-saturated"]
        assert "more workers" in hint.action
        assert "99 % of 4 usable cores" in hint.evidence
        assert f"{base['workers']} workers" in hint.evidence


def test_a_missing_signal_is_said() -> None:
    hint = judged(GPU, busy=None, run_delay=None)["data-wait"]
    assert "not measured here: the workers' use of their time, the workers' waiting for a core" in hint.evidence


@pytest.mark.parametrize(("name", "value"), [("persistent_workers", False), ("pin_memory", False)])
def test_a_setting_that_is_off_is_proposed(name: str, value: object) -> None:
    signals = {"first_wait": 0.3} if name == "persistent_workers" else {"wait": 0.0, "copy": 0.5}
    (hint,) = judged(GPU, {name: value}, **signals).values()
    assert hint.changes == {name: True}


def test_the_first_epoch_on_a_disk_is_told_from_the_later_ones() -> None:
    reading: dict[str, Any] = {"read_share": 0.9, "from_disk": 1.0}
    assert "first epoch" in judged(GPU, epoch=0, **reading)["disk"].action
    assert "first epoch" not in judged(GPU, epoch=1, **reading)["disk"].action


def test_the_targets_are_the_known_ranges() -> None:
    assert [(one.name, one.low, one.high) for one in TARGETS] == [("GPU", 95, 100), ("CPU", 60, 80), ("RAM", 40, 60)]


share = st.floats(0, 1)
unknown_share = st.none() | share
ANY = st.builds(
    Signals,
    wait=share,
    first_wait=share,
    compute=share,
    copy=unknown_share,
    other=share,
    epoch=st.integers(0, 2),
    on_gpu=st.booleans(),
    workers=st.integers(0, 64),
    busy=unknown_share,
    run_delay=unknown_share,
    read_share=unknown_share,
    from_disk=unknown_share,
    usable_cores=st.none() | st.floats(0.1, 128),
    cpu=st.none() | st.floats(0, 100),
    foreign_cpu=st.none() | st.floats(0, 128),
    throttled=unknown_share,
    psi_io=unknown_share,
    ram_used=unknown_share,
    ram_total=st.none() | st.just(16 * GIB),
    run_memory=st.none() | st.integers(0, 16 * GIB),
    utilization=st.none() | st.floats(0, 100),
    vram=unknown_share,
    settings=st.fixed_dictionaries(
        {},
        optional={
            "batch_size": st.integers(1, 4096),
            "prefetch_factor": st.integers(1, 64),
            "compile": st.booleans(),
            "cache": st.sampled_from(["none", "ram", "disk"]),
            "pin_memory": st.booleans(),
            "persistent_workers": st.booleans(),
        },
    ),
)


@settings(max_examples=300, deadline=None)
@given(ANY)
def test_whatever_is_seen_hints_are_few_steady_and_feasible(signals: Signals) -> None:
    found = evaluate(signals)
    causes = [name for name in found if name not in {"ram-pressure"}]
    assert len(causes) <= 1
    known = {rule.id for rule in RULES}
    for name, hint in found.items():
        assert name == hint.id
        assert name in known
        assert not re.search(r"\d", hint.title)
        assert hint.evidence
        assert "nan" not in hint.evidence
        assert hint.action.endswith(".")
        assert "None" not in hint.evidence + hint.action
        build(hint.changes)
        if name == "few-workers":
            assert signals.usable_cores is not None
            assert signals.workers < hint.changes["num_workers"] <= max(1, 0.75 * signals.usable_cores)
