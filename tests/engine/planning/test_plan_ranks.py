"""Plans with several ranks: one GPU each, sums over all ranks, and no prediction without a measurement."""

from __future__ import annotations

import msgspec
import pytest
from fakes.plans import CPU, gpu, note, plan_of, value

from gputrain.engine.common.errors import BadInput
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
    # The gradients are DistributedDataParallel's buckets: the other ranks cost no memory.
    assert [(part.name, part.bytes) for part in two.vram.parts] == [(p.name, p.bytes) for p in one.vram.parts]
    notes = {part.name: part.note for part in two.vram.parts}
    assert notes["gradients"] == "float32, in DistributedDataParallel's buckets"
    assert fact(two.facts, "images per update").startswith("128 (32 × 2 × 2)")
    assert fact(two.facts, "device") == "Some GPU, 24 GiB, the first of 2"
    assert "one of 2 GPUs: devices=all trains on all" in fact(one.facts, "device")
    assert not two.refuses


def test_workers_share_the_cores() -> None:
    plan = plan_of(gpus(2), num_workers=12, ranks=2)
    assert value(plan, "num_workers") == "6"
    assert note(plan, "num_workers") == "12 → 6: 75% of 16 usable cores for 2 ranks"


def test_more_ranks_than_gpus() -> None:
    asked = plan_of(gpus(2), own=True, ranks=4)
    assert asked.refuses == ("devices: 4 need a GPU each, and 2 can be used here; devices=2",)
    filed = plan_of(gpus(2), ranks=4)
    assert (value(filed, "devices"), note(filed, "devices")) == ("2", "4 → 2: the number of GPUs")
    assert not filed.refuses


def test_ranks_on_a_cpu_are_a_warning() -> None:
    plan = plan_of(CPU, own=True, ranks=2, device="cpu")
    assert not plan.refuses
    assert any("share this CPU" in text for text in plan.warnings)
    assert value(plan_of(CPU, ranks=2), "devices") == "1"


def test_all_devices() -> None:
    plan = plan_of(gpus(3), own=True, devices="all")
    assert (value(plan, "devices"), note(plan, "devices")) == ("3", "all: the 3 GPUs")
    assert plan.config.devices == 3
    assert value(plan_of(CPU, own=True, devices="all", device="cpu"), "devices") == "1"
    with pytest.raises(BadInput, match=r"devices must be a whole number, got 'some'"):
        plan_of(CPU, devices="some")


def test_devices_count_on_each_host() -> None:
    plan = plan_of(gpus(2), own=True, hosts="gpu1,gpu2,gpu3", devices=2, batch_size=32, lr=0.1)
    assert plan.updates.total_batch == 3 * 2 * 32
    assert fact(plan.facts, "images per update").startswith("192 (32 × 2 × 3)")
    assert fact(plan.facts, "hosts").startswith("gpu1, gpu2, gpu3: 3 × 2 processes, over ssh; memory and device above")
    assert plan.ram.buffer == plan_of(gpus(2), own=True, devices=2, batch_size=32, lr=0.1).ram.buffer, "of one host"
    assert not plan.refuses


def test_hosts_may_have_more_gpus_than_this_machine() -> None:
    plan = plan_of(gpus(1), own=True, hosts="gpu1,gpu2", devices=4)
    assert value(plan, "devices") == "4"
    assert not plan.refuses
    wrong = plan_of(gpus(1), own=True, hosts="gpu1,gpu2", min_nodes=3)
    assert wrong.refuses == ("min_nodes: 3 of 2 hosts; min_nodes=2",)


def test_the_global_batch_size_is_divided_among_all_hosts() -> None:
    plan = plan_of(gpus(2), own=True, hosts="gpu1,gpu2", devices=2, global_batch_size=256)
    assert (plan.config.data.batch_size, plan.config.optim.accumulation_steps) == (32, 2)
    assert plan.updates.total_batch == 256


@pytest.mark.parametrize(("devices", "size", "steps"), [(1, 32, 8), (2, 32, 4), (4, 32, 2), (8, 32, 1)])
def test_the_global_batch_size_is_divided(devices: int, size: int, steps: int) -> None:
    plan = plan_of(gpus(8), own=True, devices=devices, global_batch_size=256)
    assert (plan.config.data.batch_size, plan.config.optim.accumulation_steps) == (size, steps)
    assert plan.updates.total_batch == 256
    assert not plan.refuses


def test_an_own_accumulation_gives_the_batch_size() -> None:
    plan = plan_of(gpus(2), own=True, devices=2, accumulation_steps=8, global_batch_size=64)
    assert (plan.config.data.batch_size, plan.config.optim.accumulation_steps) == (4, 8)


def test_a_smaller_batch_where_the_usual_one_does_not_divide_it() -> None:
    plan = plan_of(gpus(3), batch_size=32, devices=3, global_batch_size=288)
    assert (plan.config.data.batch_size, plan.config.optim.accumulation_steps) == (32, 3)
    plan = plan_of(gpus(3), batch_size=32, devices=3, global_batch_size=240)
    assert (plan.config.data.batch_size, plan.config.optim.accumulation_steps) == (20, 4)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"devices": 3, "global_batch_size": 256},
            (
                "global_batch_size: 256 images can't be divided among 3 devices with about 32 each; "
                "set global_batch_size=192 or 288, or another batch_size or number of devices"
            ),
        ),
        (
            {"batch_size": 10, "global_batch_size": 25},
            (
                "global_batch_size: 25 is no multiple of 10 (batch_size 10 × 1 devices); set global_batch_size=20, "
                "or leave batch_size out"
            ),
        ),
        (
            {"devices": 2, "batch_size": 8, "accumulation_steps": 3, "global_batch_size": 64},
            (
                "accumulation_steps: 64 images per update can't be divided by batch_size 8 × 2 devices × 3; leave it "
                "out, or leave out global_batch_size"
            ),
        ),
    ],
)
def test_what_cannot_be_divided_is_refused_with_what_can(values: dict[str, int], text: str) -> None:
    assert plan_of(gpus(4), own=True, **values).refuses == (text,)


def test_synchronised_batchnorm_needs_gpus() -> None:
    assert not plan_of(CPU, own=True, device="cpu", sync_batchnorm=True).config.distributed.sync_batchnorm
    plan = plan_of(gpus(2), own=True, devices=2, sync_batchnorm=True)
    assert plan.config.distributed.sync_batchnorm
    assert not plan.config.speed.oom_fallback


def test_what_sharded_weights_do_not_allow_is_off_and_said() -> None:
    plan = plan_of(gpus(2), own=True, devices=2, sharding="full", channels_last=True, precision="bf16")
    speed = plan.config.speed
    assert (speed.channels_last, speed.oom_fallback, plan.config.checkpoint.async_checkpoints) == (False, False, False)
    assert note(plan, "channels_last") == "sharding=full takes contiguous weights only: off"
    assert not plan.refuses
    assert not plan_of(gpus(2), own=True, devices=2, sharding="full", optimizer="sgd").config.speed.fused_optimizer
    assert plan_of(gpus(2), own=True, devices=2, sharding="full", optimizer="adamw").config.speed.fused_optimizer
    one = plan_of(gpus(2), own=True, devices=1, sharding="full")
    assert one.config.checkpoint.async_checkpoints, "nothing is divided on one device"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"optimizer": "lamb"}, "sharding: full has no lamb, which compares whole layers"),
        ({"precision": "fp16"}, "sharding: full has no loss scale for fp16"),
    ],
)
def test_what_cannot_be_sharded_is_refused(values: dict[str, str], text: str) -> None:
    (refused,) = plan_of(gpus(2), own=True, devices=2, sharding="full", **values).refuses
    assert refused.startswith(text)
