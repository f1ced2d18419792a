"""The number of ranks changes nothing but the speed: the same samples in each update, the same losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training.logged_ranks import NETWORK, Logged, losses, run, samples
from helpers.training.training_tools import draw_images, small_config

from gputrain.engine.checkpointing import checkpoint_index


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("data")
    (folder / "plain_network.py").write_text(NETWORK)
    return {
        "images": draw_images(folder / "images"),
        "model": "plain_network:make",
        "code_dir": str(folder),
        # 36 images: updates of 4, 4 and 1 batches; on 4 ranks the last one leaves three without a batch.
        "batch_size": 4,
        "mixup": 0.2,
        "color_jitter": 0.2,
        "momentum": 0.9,
        "num_workers": 0,
        "epochs": 2,
    }


@pytest.fixture(scope="module")
def alone(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Logged]:
    return run(tmp_path_factory.mktemp("alone"), small_config(**settings, devices=1, accumulation_steps=4))


@pytest.mark.parametrize(
    ("devices", "sharding"),
    [
        (2, "none"),
        pytest.param(4, "none", marks=pytest.mark.long),
        pytest.param(4, "full", marks=pytest.mark.long),
    ],
)
def test_each_update_has_the_same_samples_and_loss(
    devices: int, sharding: str, settings: dict[str, Any], alone: list[Logged], tmp_path: Path
) -> None:
    values: dict[str, Any] = {"devices": devices, "accumulation_steps": 4 // devices, "sharding": sharding}
    if sharding == "full":
        # As the plan sets it.
        values["channels_last"] = False
    config = small_config(**settings, **values)
    several = run(tmp_path / "run", config)
    assert [len(images) for images in samples(alone)] == [16, 16, 4] * 2
    assert samples(several) == samples(alone)
    assert losses(several) == pytest.approx(losses(alone), rel=1e-5)
    assert several[0].epochs == pytest.approx(alone[0].epochs, rel=1e-5)
    for one, other in zip(several[0].metrics, alone[0].metrics, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.long
def test_another_number_of_devices_goes_on_with_the_next_update(
    settings: dict[str, Any], alone: list[Logged], tmp_path: Path
) -> None:
    two = small_config(**settings, devices=2, accumulation_steps=2)
    # After the first update of the second epoch: 5 steps, then 2.
    first = run(tmp_path / "first", two, stop_at=7)
    assert len(first[0].updates) == 4
    one = small_config(**settings, devices=1, accumulation_steps=4, resume_from=str(tmp_path / "first"))
    rest = run(tmp_path / "rest", one)
    assert samples(first) + samples(rest) == samples(alone)
    assert losses(first) + losses(rest) == pytest.approx(losses(alone), rel=1e-5)
    assert rest[0].epochs == pytest.approx(alone[0].epochs[1:], rel=1e-5)


@pytest.fixture(scope="module")
def sharded(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Logged]]:
    """Four updates of two ranks that share the optimizer's state, and a checkpoint."""
    home = tmp_path_factory.mktemp("sharded")
    config = small_config(**settings, devices=2, accumulation_steps=2, sharding="zero1", nonfinite_loss="skip")
    return home, run(home, config, stop_at=7)


@pytest.mark.long
def test_a_sharded_optimizer_trains_the_same_and_its_checkpoint_is_one_plain_file(
    settings: dict[str, Any], alone: list[Logged], sharded: tuple[Path, list[Logged]], tmp_path: Path
) -> None:
    home, first = sharded
    newest = checkpoint_index.read_index(home / "checkpoints")[-1]
    state = torch.load(home / "checkpoints" / newest.file, weights_only=True)
    assert len(state["optimizer"]["state"]) == len(state["model"]), "of every parameter"
    rest = run(tmp_path / "rest", small_config(**settings, accumulation_steps=4, resume_from=str(home)))
    assert losses(first) + losses(rest) == pytest.approx(losses(alone), rel=1e-5)


@pytest.mark.long
def test_a_sharded_optimizer_resumes(
    settings: dict[str, Any], alone: list[Logged], sharded: tuple[Path, list[Logged]], tmp_path: Path
) -> None:
    home, first = sharded
    config = small_config(**settings, devices=2, accumulation_steps=2, sharding="zero1", resume_from=str(home))
    assert losses(first) + losses(run(tmp_path / "rest", config)) == pytest.approx(losses(alone), rel=1e-5)
