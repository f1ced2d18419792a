"""sharding=full (FSDP2) on real gloo ranks: the losses of one process, and checkpoints for any number of devices."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from helpers.training.logged_ranks import Logged, losses, run, samples, work
from helpers.training.rank_tools import start_ranks
from helpers.training.training_tools import draw_images, small_config
from torch.distributed.checkpoint import state_dict_saver

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.checkpointing.checkpoint_index import CheckpointEntry
from gputrain.engine.common.errors import BadInput
from gputrain.engine.processes.rank_environment import MeetingPoint
from gputrain.engine.training.distributed import checkpoint_shards
from gputrain.engine.training.models.weights_file import read_weights
from gputrain.engine.training.state import torch_checkpoint

NETWORK = """
from torch import nn

def block():
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU())

def make(outputs):
    # Repeated blocks; a number of outputs that two ranks can't divide evenly.
    blocks = nn.Sequential(block(), block())
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, outputs)
    )
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("data")
    (folder / "blocks_network.py").write_text(NETWORK)
    return {
        "images": draw_images(folder / "images"),
        "model": "blocks_network:make",
        "code_dir": str(folder),
        # 36 images: updates of 4, 4 and 1 batches; in the last one the second rank has none.
        "batch_size": 4,
        "optimizer": "adamw",
        "lr": 0.01,
        "momentum": 0.9,
        "ema_decay": 0.9,
        "clip_grad_norm": 0.5,
        "nonfinite_loss": "skip",
        "channels_last": False,
        "num_workers": 0,
        "epochs": 2,
    }


@pytest.fixture(scope="module")
def alone(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Logged]:
    return run(tmp_path_factory.mktemp("alone"), small_config(**settings, devices=1, accumulation_steps=4))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def first(settings: dict[str, Any], home: Path) -> list[Logged]:
    """Five of six updates on two ranks, and their checkpoints."""
    return run(home, small_config(**settings, devices=2, accumulation_steps=2, sharding="full"), stop_at=9)


@pytest.fixture(scope="module")
def newest(home: Path, first: list[Logged]) -> CheckpointEntry:
    return checkpoint_index.find(home / "checkpoints", "last")


@pytest.mark.long
def test_divided_weights_train_as_one_process_does(alone: list[Logged], first: list[Logged]) -> None:
    assert samples(first) == samples(alone)[:5]
    assert losses(first) == pytest.approx(losses(alone)[:5], rel=1e-5)
    # Validated with the gathered EMA weights.
    assert first[0].metrics[0] == pytest.approx(alone[0].metrics[0], rel=1e-4)


@pytest.mark.long
def test_each_rank_writes_its_part_and_the_index_lists_all(home: Path, newest: CheckpointEntry) -> None:
    folder = home / "checkpoints" / newest.shards_folder
    assert {Path(shard.file).name for shard in newest.shards} == {".metadata", "__0_0.distcp", "__1_0.distcp"}
    assert {path.name for path in folder.iterdir()} == {Path(shard.file).name for shard in newest.shards}
    assert newest.all_bytes > newest.bytes
    assert checkpoint_index.matches_checksum(home / "checkpoints", newest)
    listed = {entry.shards_folder for entry in checkpoint_index.read_index(home / "checkpoints")}
    assert {path.name for path in (home / "checkpoints").glob("*.shards")} == listed


def test_a_sharded_checkpoint_is_read_as_a_plain_one(home: Path, newest: CheckpointEntry) -> None:
    state = torch_checkpoint.load(str(home), lambda text: None)
    assert {type(value) for value in state["model"].values()} == {torch.Tensor}
    assert len(state["optimizer"]["state"]) == len(state["model"])
    weights = read_weights(home / "checkpoints" / newest.file)
    assert weights.ema
    assert weights.tensors.keys() == state["model"].keys()
    torch.testing.assert_close(weights.tensors, state["ema"], rtol=0, atol=0)
    shapes = read_weights(home / "checkpoints" / newest.file, shapes_only=True).tensors
    assert {name: value.shape for name, value in shapes.items()} == {n: v.shape for n, v in state["ema"].items()}


def test_a_damaged_part_makes_the_checkpoint_before_count(home: Path, newest: CheckpointEntry, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(home / "checkpoints", tmp_path / "checkpoints"))
    part = copied / newest.shards_folder / "__1_0.distcp"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    warnings: list[str] = []
    state = torch_checkpoint.load(str(tmp_path), warnings.append)
    assert 0 < state["position"]["step"] < newest.step
    assert f"checkpoint {newest.file} (step {newest.step}) is damaged or missing" in warnings[0]
    with pytest.raises(BadInput, match="does not match its checksum"):
        torch_checkpoint.load(str(copied / newest.file), lambda text: None)
    shutil.rmtree(copied / newest.shards_folder)
    with pytest.raises(BadInput, match=r"the weights are in the folder step-\d+\.shards beside it, which is missing"):
        read_weights(copied / newest.file)


def test_metadata_with_anything_but_tensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(pickle.dumps(shutil.rmtree))
    with pytest.raises(BadInput, match=r"shutil\.rmtree does not belong into a checkpoint"):
        checkpoint_shards.outline(tmp_path)


def kill_while_saving(rank: int, meeting: MeetingPoint, home: str, config_json: bytes) -> None:
    """Train; rank 1 is killed by SIGKILL once its part of the second checkpoint is written."""
    save, calls = state_dict_saver.save, list[int]()

    def then_kill(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        saved = save(*arguments, **named)
        if rank == 1 and len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return saved

    state_dict_saver.save = then_kill
    work(rank, meeting, home, config_json, None)


@pytest.mark.long
def test_a_rank_that_is_killed_while_it_saves_loses_nothing(
    settings: dict[str, Any], alone: list[Logged], tmp_path: Path
) -> None:
    config = small_config(**settings, devices=2, accumulation_steps=2, sharding="full", checkpoint_steps=2)
    home = tmp_path / "killed"
    codes = start_ranks(2, kill_while_saving, str(home), msgspec.json.encode(config))
    assert codes[1] == -signal.SIGKILL
    (entry,) = checkpoint_index.read_index(home / "checkpoints")
    assert len(list((home / "checkpoints").glob("*.shards"))) == 2, "the second one has no entry"
    rest = run(tmp_path / "rest", small_config(**settings, accumulation_steps=4, resume_from=str(home)))
    assert losses(rest) == pytest.approx(losses(alone)[1:], rel=1e-5)
    torch_checkpoint.Checkpoints(home / "checkpoints", keep_last=2)
    assert [path.name for path in (home / "checkpoints").glob("*.shards")] == [entry.shards_folder]


@pytest.mark.long
def test_one_device_goes_on_from_it(
    settings: dict[str, Any], alone: list[Logged], first: list[Logged], home: Path, tmp_path: Path
) -> None:
    rest = run(tmp_path / "rest", small_config(**settings, accumulation_steps=4, resume_from=str(home)))
    assert losses(first) + losses(rest) == pytest.approx(losses(alone), rel=1e-5)
    assert rest[0].metrics[-1] == pytest.approx(alone[0].metrics[-1], rel=1e-4)


@pytest.mark.long
@pytest.mark.parametrize(("devices", "sharding"), [(2, "full"), (4, "full"), (2, "zero1")])
def test_any_number_of_devices_goes_on_from_it(
    devices: int,
    sharding: str,
    settings: dict[str, Any],
    alone: list[Logged],
    first: list[Logged],
    home: Path,
    tmp_path: Path,
) -> None:
    values: dict[str, Any] = {
        "devices": devices,
        "accumulation_steps": 4 // devices,
        "sharding": sharding,
        "resume_from": str(home),
    }
    rest = run(tmp_path / "rest", small_config(**settings, **values))
    assert losses(first) + losses(rest) == pytest.approx(losses(alone), rel=1e-5)
    assert rest[0].metrics[-1] == pytest.approx(alone[0].metrics[-1], rel=1e-4)


@pytest.mark.long
def test_divided_weights_go_on_from_a_plain_checkpoint(
    settings: dict[str, Any], alone: list[Logged], tmp_path: Path
) -> None:
    one = run(tmp_path / "one", small_config(**settings, accumulation_steps=4), stop_at=16)
    config = small_config(
        **settings, devices=2, accumulation_steps=2, sharding="full", resume_from=str(tmp_path / "one")
    )
    assert losses(one) + losses(run(tmp_path / "rest", config)) == pytest.approx(losses(alone), rel=1e-5)
