"""The rungs from standard to optimized, by table."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gputrain.engine.configuration import settings
from gputrain.engine.planning.ablation import STANDARD, ablation_stages

PLAN: dict[str, Any] = {
    **settings.flatten(settings.build({})),
    "num_workers": 8,
    "prefetch_factor": 4,
    "precision": "bf16",
    "compile": True,
    "cache": "none",
}
GPU = {"gpu": True, "tf32": True}


def climbed(**arguments: Any) -> dict[str, dict[str, Any]]:
    """The whole settings of each rung that is climbed."""
    plan = arguments.pop("plan", PLAN)
    rungs = ablation_stages(plan, every=True, **arguments)
    return {rung.name: {**plan, **rung.changes} for rung in rungs if not rung.skipped}


def test_each_rung_adds_one_thing_to_those_below() -> None:
    rungs = climbed(**GPU)
    names = list(rungs)
    assert names[0] == "standard"
    assert names[-2:] == ["all", "the plan"]
    expected = {
        "+ workers": {"num_workers", "prefetch_factor", "pin_memory", "non_blocking"},
        "+ mixed precision": {"precision"},
        "+ channels_last": {"channels_last"},
        "+ TF32": {"tf32", "cudnn_benchmark"},
        "+ compile": {"compile"},
        "+ cache": {"cache"},
        "all": {"fused_optimizer"},
        "the plan": {"cache"},
    }
    for before, name in itertools.pairwise(names):
        changed = {key for key in PLAN if rungs[before][key] != rungs[name][key]}
        assert changed == expected[name], name


def test_the_lowest_rung_sets_nothing_and_the_highest_is_the_plan() -> None:
    lowest, highest = ablation_stages(PLAN, every=False, **GPU)
    assert {**PLAN, **lowest.changes} == {**PLAN, **STANDARD}
    assert highest.changes == {}


@pytest.mark.parametrize(
    ("arguments", "skipped"),
    [
        ({"gpu": True, "tf32": False}, {"+ TF32": "needs compute capability 8.0"}),
        ({"gpu": False, "tf32": False}, {"+ TF32": "needs a GPU"}),
    ],
)
def test_what_the_machine_lacks_is_left_out_with_the_reason(arguments: Any, skipped: dict[str, str]) -> None:
    assert {
        rung.name: rung.skipped for rung in ablation_stages(PLAN, every=True, **arguments) if rung.skipped
    } == skipped


def test_all_has_every_rung_also_what_the_plan_leaves_out() -> None:
    plan = {**PLAN, "compile": False, "fused_optimizer": False, "channels_last": False, "tf32": False}
    everything = climbed(plan=plan, **GPU)["all"]
    gained = {"compile", "fused_optimizer", "channels_last", "tf32", "cudnn_benchmark"}
    assert all(everything[name] is True for name in gained)
    assert (everything["cache"], everything["precision"], everything["num_workers"]) == ("ram", "bf16", 8)
    assert climbed(plan=plan, **GPU)["the plan"] == plan


def test_compiling_on_a_cpu_is_only_tried_on_request() -> None:
    plan = {**PLAN, "compile": False}
    assert "+ compile" not in climbed(plan=plan, gpu=False, tf32=False)
    assert climbed(gpu=False, tf32=False)["+ compile"]["compile"] is True
    assert climbed(plan=plan, **GPU)["+ compile"]["compile"] is True


def test_a_plan_in_float32_is_still_tried_in_mixed_precision_and_its_own_cache_is_used() -> None:
    plan = {**PLAN, "precision": "fp32", "cache": "disk", "cache_form": "jpeg"}
    rungs = climbed(plan=plan, **GPU)
    assert rungs["+ mixed precision"]["precision"] == "auto"
    assert (rungs["+ cache"]["cache"], rungs["+ cache"]["cache_form"]) == ("disk", "jpeg")


def test_every_rung_is_a_configuration() -> None:
    for rung in ablation_stages(PLAN, every=True, **GPU):
        settings.build({**PLAN, **rung.changes})
