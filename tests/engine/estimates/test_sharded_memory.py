"""The plan's memory with `sharding` against the local tensors of real gloo ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from helpers.training.rank_tools import start_ranks

from gputrain.engine.common.units import GIB
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.estimates import gpu_memory
from gputrain.engine.estimates.host_memory import Part
from gputrain.engine.processes.rank_environment import MeetingPoint

MODEL = "resnet18"


def values(**changes: Any) -> dict[str, Any]:
    base = {"model": MODEL, "optimizer": "adamw", "image_size": 64, "batch_size": 2, "devices": 4, "precision": "fp32"}
    return settings.flatten(settings.build({**base, **changes}))


def parts(**changes: Any) -> dict[str, Part]:
    return {part.name: part for part in gpu_memory.vram_budget(values(**changes), limit=None).parts}


def total(**changes: Any) -> int:
    found = gpu_memory.vram_budget(values(**changes), limit=None)
    assert found.total == sum(part.bytes for part in found.parts)
    assert found.total is not None
    return found.total


def test_each_rank_has_its_share() -> None:
    none, full, zero1 = (parts(sharding=sharding) for sharding in ("none", "full", "zero1"))
    weights = none["weights"].bytes
    for name, times in (("weights", 1), ("gradients", 1), ("optimizer", 2)):
        assert none[name].bytes == times * weights
        assert full[name].bytes == pytest.approx(times * weights / 4, abs=8)
    assert zero1["weights"].bytes == zero1["gradients"].bytes == weights
    assert zero1["optimizer"].bytes == pytest.approx(2 * weights / 4, abs=8)
    assert zero1["optimizer"].note == "zero1: 1/4 of 2 × the weights, by whole parameters"
    assert "1/4 of them (FSDP2)" in full["weights"].note
    assert full["activations"] == none["activations"]
    # The EMA is divided by FSDP2 alone.
    assert parts(sharding="zero1", ema_decay=0.9)["optimizer"].bytes == pytest.approx(1.5 * weights, abs=8)
    assert parts(sharding="full", ema_decay=0.9)["optimizer"].bytes == pytest.approx(0.75 * weights, abs=8)
    # On one device there is nothing to divide.
    assert parts(sharding="full", devices=1) == parts(sharding="none", devices=1)


def test_what_is_gathered_follows_precision_and_model() -> None:
    wide, narrow = (parts(sharding="full", model="vit_b_16", precision=precision) for precision in ("fp32", "bf16"))
    assert narrow["gathered weights"].bytes * 2 == wide["gathered weights"].bytes
    assert "half-precision weights" not in narrow, "they are what is gathered"
    # BatchNorm keeps the gathered weights in float32, and autocast makes copies of them.
    assert parts(sharding="full", precision="bf16")["half-precision weights"].bytes * 2 == parts()["weights"].bytes
    assert parts(sharding="full", model="alexnet")["gathered weights"].note.endswith("the model has no blocks: all")


def test_a_validation_may_need_more_than_the_training() -> None:
    small = total(sharding="full", model="vit_l_16", devices=64, batch_size=1, image_size=224)
    weights = parts(model="vit_l_16")["weights"].bytes
    assert small > weights
    found = parts(sharding="full", model="vit_l_16", devices=64, batch_size=1, image_size=224)
    assert found["validation"].bytes > 0
    assert "validation" not in parts(sharding="full", model="vit_l_16", devices=64, batch_size=64, image_size=224)
    assert gpu_memory.largest_batch(values(sharding="full", model="vit_l_16", devices=64), weights) == 0
    best = gpu_memory.largest_batch(values(sharding="full", model="vit_l_16", devices=64, image_size=224), 24 * GIB)
    assert best
    assert total(sharding="full", model="vit_l_16", devices=64, image_size=224, batch_size=best) <= 24 * GIB


def measure(rank: int, meeting: MeetingPoint, folder: str, config_json: bytes) -> None:
    """One update of one rank, and a file with the bytes of its tensors."""
    from torch.distributed.tensor import DTensor

    from gputrain.engine.training.distributed.ddp_network import DataParallel
    from gputrain.engine.training.distributed.parallel_network import parallel_network
    from gputrain.engine.training.distributed.process_group import ProcessGroup
    from gputrain.engine.training.models.create_model import model_of
    from gputrain.engine.training.networks.blocks import blocks_of
    from gputrain.engine.training.optim.optimizers import make_optimizer, own_optimizer

    torch.set_num_threads(1)
    config = msgspec.json.decode(config_json, type=RunConfig)
    ranks = ProcessGroup(meeting, rank, config.devices)
    network = model_of(config, 1000, "", lambda level, text: None)
    parallel = parallel_network(network, config.distributed, ranks, lambda: None)
    assert parallel is not None
    if not isinstance(parallel, DataParallel):
        parallel.divide([], blocks_of, None)
    parallel.use(network)
    optimizer = make_optimizer(network, config, ranks)
    gathered: list[int] = []

    def look(*_: Any) -> None:
        gathered.append(sum(p.numel() * 4 for p in network.parameters() if not isinstance(p, DTensor)))

    for block in blocks_of(network):
        block.register_forward_hook(look)
        block.register_forward_pre_hook(look)
    with parallel.last_pass():
        parallel.forward(torch.randn(2, 3, 64, 64)).sum().backward()
    parallel.finish()

    def local(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor

    gradients = [local(p.grad) for p in network.parameters() if p.grad is not None]
    storages = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in gradients}
    optimizer.step()
    states = [value for state in own_optimizer(optimizer).state.values() for value in state.values()]
    found = {
        "weights": sum(local(p).nbytes for p in network.parameters()),
        "gradients": sum(one.nbytes for one in gradients),
        "buckets": sum(storages.values()),
        "optimizer": sum(local(value).nbytes for value in states if torch.is_tensor(value) and value.ndim),
        "gathered weights": max(gathered),
    }
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    ranks.leave()


@pytest.mark.long
@pytest.mark.parametrize("sharding", ["none", "zero1", "full"])
def test_gloo_ranks_allocate_what_the_plan_says(sharding: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"sharding": sharding, "devices": 2, "channels_last": False}
    config = settings.build({"model": MODEL, "optimizer": "adamw", "precision": "fp32", **changes})
    assert start_ranks(2, measure, str(tmp_path), msgspec.json.encode(config)) == [0, 0]
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    planned = parts(**changes)
    for name in ("weights", "gradients", "optimizer"):
        most = max(one[name] for one in ranks)
        assert most == pytest.approx(planned[name].bytes, rel=0.02), name
        print(sharding, name, [one[name] for one in ranks], planned[name].bytes)
    if sharding != "full":
        # The gradients are the buckets that are sent: there is no second copy.
        assert ranks[0]["buckets"] == pytest.approx(planned["gradients"].bytes, rel=0.01)
        return
    blocks = gpu_memory._blocks(values(**changes))
    assert blocks is not None
    for one in ranks:
        # One block that computes; the plan allows for a second one that a GPU fetches meanwhile.
        assert one["gathered weights"] == pytest.approx((blocks.rest + blocks.largest) * 4, rel=0.01)
        assert one["gathered weights"] <= planned["gathered weights"].bytes
