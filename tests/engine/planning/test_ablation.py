"""The stages of the ablation, by table."""

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


def stages(**arguments: Any) -> dict[str, dict[str, Any]]:
    """All settings of each stage that is not skipped, by its name."""
    plan = arguments.pop("plan", PLAN)
    found = ablation_stages(plan, every=True, **arguments)
    return {stage.name: {**plan, **stage.changes} for stage in found if not stage.skipped}


def test_each_stage_adds_one_optimization() -> None:
    found = stages(**GPU)
    names = list(found)
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
        changed = {key for key in PLAN if found[before][key] != found[name][key]}
        assert changed == expected[name], name


def test_first_stage_is_standard_and_last_is_the_plan() -> None:
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
def test_stages_the_machine_cannot_run_are_skipped_with_a_reason(arguments: Any, skipped: dict[str, str]) -> None:
    assert {
        stage.name: stage.skipped for stage in ablation_stages(PLAN, every=True, **arguments) if stage.skipped
    } == skipped


def test_all_has_every_optimization_even_those_the_plan_leaves_out() -> None:
    plan = {**PLAN, "compile": False, "fused_optimizer": False, "channels_last": False, "tf32": False}
    everything = stages(plan=plan, **GPU)["all"]
    gained = {"compile", "fused_optimizer", "channels_last", "tf32", "cudnn_benchmark"}
    assert all(everything[name] is True for name in gained)
    assert (everything["cache"], everything["precision"], everything["num_workers"]) == ("ram", "bf16", 8)
    assert stages(plan=plan, **GPU)["the plan"] == plan


def test_compile_on_a_cpu_only_on_request() -> None:
    plan = {**PLAN, "compile": False}
    assert "+ compile" not in stages(plan=plan, gpu=False, tf32=False)
    assert stages(gpu=False, tf32=False)["+ compile"]["compile"] is True
    assert stages(plan=plan, **GPU)["+ compile"]["compile"] is True


def test_fp32_plan_is_measured_in_mixed_precision_with_its_own_cache() -> None:
    plan = {**PLAN, "precision": "fp32", "cache": "disk", "cache_form": "jpeg"}
    found = stages(plan=plan, **GPU)
    assert found["+ mixed precision"]["precision"] == "auto"
    assert (found["+ cache"]["cache"], found["+ cache"]["cache_form"]) == ("disk", "jpeg")


def test_every_stage_is_a_valid_configuration() -> None:
    for stage in ablation_stages(PLAN, every=True, **GPU):
        settings.build({**PLAN, **stage.changes})
