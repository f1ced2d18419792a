"""The PyTorch training loop on real JPEG files: events, checkpoints, exact resume."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from helpers.training.training_tools import CLASSES, Result, draw_images, small_config, train

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.events import (
    CheckpointSaved,
    DataReady,
    EpochEnded,
    LoaderStats,
    ModelReady,
    Notice,
    Outcome,
    Phase,
    PhaseChanged,
    Steps,
    Validated,
)
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.training.state import torch_checkpoint


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """One complete run, used by several tests."""
    directory = tmp_path_factory.mktemp("whole")
    return train(directory, small_config(images, epochs=4)), directory


def weights(directory: Path) -> dict[str, torch.Tensor]:
    state = torch_checkpoint.load(str(directory), pytest.fail)
    model: dict[str, torch.Tensor] = state["model"]
    return model


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_a_run_reports_all_events(whole: tuple[Result, Path]) -> None:
    result, directory = whole
    assert result.ended.outcome is Outcome.FINISHED
    (data,) = result.of(DataReady)
    assert (data.train_images, data.val_images, data.classes) == (36, 18, CLASSES)
    (model,) = result.of(ModelReady)
    assert (model.device, model.precision, model.total_steps) == ("cpu", "fp32", 24)
    phases = [event.phase for event in result.of(PhaseChanged)]
    for phase in (Phase.SCANNING_DATA, Phase.BUILDING, Phase.WARMING_UP, Phase.TRAINING, Phase.VALIDATING):
        assert phase in phases
    steps = result.of(Steps)
    assert sum(event.window_steps for event in steps) == steps[-1].step == 24
    assert steps[-1].images == 24 * 6
    for event in steps:
        assert event.data_wait + event.compute + event.other == pytest.approx(event.window_seconds, abs=1e-3)
        assert event.copy is None
    assert [event.epoch for event in result.of(EpochEnded)] == [0, 1, 2, 3]
    assert sum(event.samples for event in result.of(LoaderStats)) >= 24 * 6
    assert len(result.of(Validated)) == 4
    assert (directory / "checkpoints" / "best.pt").exists()
    assert len(list((directory / "checkpoints").glob("step-*.pt"))) == 2
    assert result.of(CheckpointSaved)[-1].step == 24


def test_a_checkpoint_in_mid_epoch_ends_a_window(images: Path, tmp_path: Path) -> None:
    """Steps before a checkpoint are counted with their own time, also at the last step of an epoch (6)."""
    steps = train(tmp_path, small_config(images, epochs=2, checkpoint_steps=3)).of(Steps)
    assert {3, 6, 9, 12} <= {event.step for event in steps}
    assert sum(event.window_steps for event in steps) == 12
    assert len({event.step for event in steps}) == len(steps)
    for event in steps:
        assert event.loss is not None
        assert event.compute > 0
        assert event.data_wait + event.compute + event.other == pytest.approx(event.window_seconds, abs=1e-3)


def test_the_model_learns(whole: tuple[Result, Path]) -> None:
    losses = [event.train_loss for event in whole[0].of(EpochEnded)]
    assert losses[-1] < 0.7 * losses[0]


def test_the_reported_accuracy_is_the_true_one(whole: tuple[Result, Path], images: Path) -> None:
    """Against a plain loop over the same files: PIL, float32, one image at a time."""
    import numpy as np
    from PIL import Image

    from gputrain.engine.configuration.normalization import IMAGENET_MEAN as MEAN
    from gputrain.engine.configuration.normalization import IMAGENET_STD as STD
    from gputrain.engine.training.networks.simple_cnn import SimpleCNN

    result, directory = whole
    network = SimpleCNN(3, 8)
    network.load_state_dict(weights(directory))
    network.eval()
    right = 0
    for label, name in enumerate(CLASSES):
        for path in sorted((images / "val" / name).iterdir()):
            with Image.open(path) as opened:
                image = opened.convert("RGB").resize((36, 36), Image.Resampling.BILINEAR).crop((2, 2, 34, 34))
            pixels = (np.asarray(image, np.float32) / 255 - MEAN) / STD
            scores = network(torch.from_numpy(pixels.transpose(2, 0, 1)).float()[None])
            right += int(scores.argmax()) == label
    assert result.of(Validated)[-1].metrics["accuracy"] == pytest.approx(right / 18, abs=1.5 / 18)


@pytest.mark.parametrize("changes", [{"num_workers": 0}, {"num_workers": 3}, {"prefetch_factor": 5}])
def test_workers_do_not_change_the_training(
    whole: tuple[Result, Path], images: Path, tmp_path: Path, changes: dict[str, int]
) -> None:
    train(tmp_path, small_config(images, epochs=4, **changes))
    assert same(weights(tmp_path), weights(whole[1]))


@pytest.mark.parametrize("stops", [(7,), (8, 10, 15)])
def test_stop_and_resume_change_nothing(
    whole: tuple[Result, Path], images: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    """Also in mid-epoch, twice in one epoch, and with another number of workers each time."""
    previous = ""
    for number, stop in enumerate((*stops, 0)):
        directory = tmp_path / str(number)
        directory.mkdir()
        # The schedule depends on the whole run: stop it by request, not with max_steps.
        config = small_config(
            images, epochs=4, num_workers=number, resume_from=previous, checkpoint_steps=stop, keep_last=50
        )
        if stop:
            stop_after(directory, config, stop)
        else:
            assert train(directory, config).ended.outcome is Outcome.FINISHED
        previous = str(directory)
    assert same(weights(Path(previous)), weights(whole[1]))


def stop_after(directory: Path, config: object, step: int) -> None:
    """Train, and keep only the checkpoint of `step`, as after a crash some time later."""
    train(directory, config)  # type: ignore[arg-type]
    folder = directory / "checkpoints"
    entries = [
        entry for entry in checkpoint_index.newest_first(checkpoint_index.read_index(folder)) if entry.step == step
    ]
    if not entries:
        pytest.fail(f"no checkpoint at step {step}: {checkpoint_index.read_index(folder)}")
    for path in folder.glob("*.pt"):
        if path.name != entries[0].file:
            path.unlink()


def test_a_requested_stop_writes_a_checkpoint(images: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="stopped on request"):
        train(tmp_path, small_config(images), commands=(StopCommand(checkpoint=True),))


def test_a_damaged_checkpoint_is_skipped(whole: tuple[Result, Path], images: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(whole[1] / "checkpoints", tmp_path / "checkpoints")
    newest = tmp_path / "checkpoints" / "step-00000024.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    told: list[str] = []
    state = torch_checkpoint.load(str(tmp_path), told.append)
    assert state["position"]["step"] == 18
    assert any("step-00000024.pt" in text for text in told)


def test_settings_that_cannot_change_are_named(whole: tuple[Result, Path], images: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="batch_size: was 6 and is 4"):
        train(tmp_path, small_config(images, batch_size=4, resume_from=str(whole[1])))


def test_accumulation_equals_the_big_batch(images: Path, tmp_path: Path) -> None:
    """Without batch statistics in the way: the head alone is trained on features of a network in eval mode."""
    big = train(tmp_path / "big", small_config(images, batch_size=12, epochs=1, lr=1e-4, augment="none"))
    small = train(
        tmp_path / "small", small_config(images, batch_size=6, accumulation_steps=2, epochs=1, lr=1e-4, augment="none")
    )
    assert big.of(ModelReady)[0].total_updates == small.of(ModelReady)[0].total_updates == 3
    first, second = big.of(EpochEnded)[0].train_loss, small.of(EpochEnded)[0].train_loss
    assert first == pytest.approx(second, rel=0.05)


def test_bf16_and_fp16_on_a_cpu(images: Path, tmp_path: Path) -> None:
    result = train(tmp_path, small_config(images, precision="fp16", epochs=1))
    assert result.of(ModelReady)[0].precision == "bf16"
    assert any("fp16 needs a GPU: bf16 used" in event.text for event in result.of(Notice))


def test_device_cuda_without_a_gpu_is_refused(images: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(BadInput, match="device: cuda cannot be used"):
        train(tmp_path, small_config(images, device="cuda"))


def test_unreadable_images_are_reported_and_replaced(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images")
    (images / "train" / "down" / "3.jpg").write_text("this is no picture")
    result = train(tmp_path, small_config(images, epochs=1))
    assert result.ended.outcome is Outcome.FINISHED
    assert any("3.jpg" in event.text for event in result.of(Notice) if event.level == "warning")


def test_an_unknown_model_is_refused_with_a_similar_name(images: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="did you mean 'resnet18'"):
        train(tmp_path, small_config(images, model="resnet_18"))


def test_losses_are_finite_numbers(whole: tuple[Result, Path]) -> None:
    assert all(loss is not None and math.isfinite(loss) for _, loss in whole[0].losses)
