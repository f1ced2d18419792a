"""Plans with several ranks: one GPU each, sums over all ranks, and no prediction without a measurement."""

from __future__ import annotations

import msgspec
import pytest
from fakes.plans import CPU, gpu, note, plan_of, value

from gputrain.engine.hardware.machine import Machine


def gpus(count: int) -> Machine:
    one = gpu()
    return msgspec.structs.replace(one, gpus=one.gpus * count)


def fact(plan_facts: tuple[tuple[str, str], ...], name: str) -> str:
    return next(text for one, text in plan_facts if one == name)


def test_quantities_per_rank_add_up() -> None:
    values = {"batch_size": 32, "num_workers": 3, "prefetch_factor": 2, "accumulation_steps": 2, "lr": 0.1}
    one, two = plan_of(gpus(2), own=True, **values), plan_of(gpus(2), own=True, **values, ranks=2)
    assert two.updates.total_batch == 2 * one.updates.total_batch == 128
    assert two.updates.scaled_lr == pytest.approx(2 * one.updates.scaled_lr)
    assert two.ram.buffer == 2 * one.ram.buffer
    assert two.ram.total - one.ram.total == sum(part.bytes for part in one.ram.parts if part.name != "in use now")
    assert two.scaling == one.scaling, "it is of 1, 2, 4 and 8 GPUs"
    assert one.vram is not None
    assert two.vram is not None
    assert {part.name for part in two.vram.parts} - {part.name for part in one.vram.parts} == {"all-reduce buffer"}
    assert fact(two.facts, "images per update").startswith("128 (32 × 2 × 2)")
    assert fact(two.facts, "device") == "Some GPU, 24 GiB, the first of 2"
    assert "one of 2 GPUs: ranks=2 trains on all" in fact(one.facts, "device")
    assert not two.refuses


def test_workers_share_the_cores() -> None:
    plan = plan_of(gpus(2), num_workers=12, ranks=2)
    assert value(plan, "num_workers") == "6"
    assert note(plan, "num_workers") == "12 → 6: 75% of 16 usable cores for 2 ranks"


def test_more_ranks_than_gpus() -> None:
    asked = plan_of(gpus(2), own=True, ranks=4)
    assert asked.refuses == ("ranks: 4 need a GPU each, and 2 can be used here; ranks=2",)
    filed = plan_of(gpus(2), ranks=4)
    assert (value(filed, "ranks"), note(filed, "ranks")) == ("2", "4 → 2: the number of GPUs")
    assert not filed.refuses


def test_ranks_on_a_cpu_are_a_warning() -> None:
    plan = plan_of(CPU, own=True, ranks=2, device="cpu")
    assert not plan.refuses
    assert any("share this CPU" in text for text in plan.warnings)
    assert value(plan_of(CPU, ranks=2), "ranks") == "1"
