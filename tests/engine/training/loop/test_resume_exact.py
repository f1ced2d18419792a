"""A run that was interrupted has the same losses, step by step and bit by bit, as one that was not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training.training_tools import Result, draw_images, small_config, train
from torch.nn import functional

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.events import EpochEnded, ModelReady, Notice, Steps, Validated
from gputrain.engine.training.loop import step_windows
from gputrain.engine.training.loop.validation import Validation
from gputrain.engine.training.models import create_model
from gputrain.engine.training.networks.simple_cnn import SimpleCNN
from gputrain.engine.training.state import torch_checkpoint

# Every random thing there is: order, crops, flips, colours, blanks, mixing of both kinds; and dropout, see `Dropping`.
EVERYTHING: dict[str, Any] = {
    "epochs": 3,
    "accumulation_steps": 2,
    "ema_decay": 0.9,
    "mixup": 0.4,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
    "color_jitter": 0.2,
    "random_erasing": 0.3,
    "schedule": "one_cycle",
    "warmup_epochs": 0.5,
    "clip_grad_norm": 1.0,
    "weight_decay": 0.01,
    "optimizer": "adamw",
    "lr": 0.002,
    "keep_last": 50,
    "checkpoint_steps": 2,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"))


class Dropping(SimpleCNN):
    """With dropout, whose random numbers are torch's own."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.dropout(images, 0.2, self.training))


@pytest.fixture(scope="module", autouse=True)
def told_and_dropping() -> Iterator[None]:
    """Every update is told. One thread: on a busy machine two that wait for each other take many times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_windows, "WINDOW_SECONDS", 0.0)
        patch.setattr(create_model, "SimpleCNN", Dropping)
        patch.setattr(torch, "set_num_threads", lambda count: None)
        yield
    torch.set_num_threads(before)


def losses(result: Result) -> dict[int, float | None]:
    """Mean loss of each update's steps by the step that ended it."""
    return {event.step: event.loss for event in result.of(Steps)}


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """The run that nobody interrupted, with all its checkpoints."""
    directory = tmp_path_factory.mktemp("whole")
    return train(directory, small_config(images, **EVERYTHING)), directory


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        (2, {"num_workers": 0}),
        (8, {"num_workers": 3, "prefetch_factor": 1}),
        (12, {"num_workers": 1, "loader": "processes"}),
    ],
)
def test_the_losses_are_the_same_from_any_step_on(
    whole: tuple[Result, Path], images: Path, tmp_path: Path, step: int, changes: dict[str, Any]
) -> None:
    """In mid-epoch and at an epoch's end, between threads, processes and no workers at all."""
    result, directory = whole
    start = checkpoint_index.find(directory / "checkpoints", str(step))
    config = small_config(images, **EVERYTHING | changes, resume_from=str(directory / "checkpoints" / start.file))
    again = train(tmp_path, config)
    assert again.of(ModelReady)[0].start_step == step
    expected = {at: loss for at, loss in losses(result).items() if at > step}
    assert len(expected) == (18 - step) // 2
    assert losses(again) == expected
    assert [e.train_loss for e in again.of(EpochEnded)] == [e.train_loss for e in result.of(EpochEnded)][step // 6 :]
    assert [e.metrics for e in again.of(Validated)][-1] == [e.metrics for e in result.of(Validated)][-1]
    ours, theirs = (torch_checkpoint.load(str(one), pytest.fail) for one in (tmp_path, directory))
    for part in ("model", "ema"):
        assert all(torch.equal(ours[part][name], theirs[part][name]) for name in theirs[part])


def test_twice_in_one_epoch_in_its_own_directory(whole: tuple[Result, Path], images: Path, tmp_path: Path) -> None:
    found: dict[int, float | None] = {}
    for stop in (8, 10, None):
        previous = str(tmp_path) if found else ""
        result = train(tmp_path, small_config(images, **EVERYTHING, resume_from=previous), stop_at=stop)
        assert not found.keys() & losses(result).keys()
        found |= losses(result)
    assert found == losses(whole[0])


def test_a_validation_that_was_cut_off_is_done_when_the_run_goes_on(
    whole: tuple[Result, Path], images: Path, tmp_path: Path
) -> None:
    """The stop comes when the first validation has begun; an early stop would otherwise count one too few."""

    judge = Validation.judge

    def stop_first(validation: Validation, *arguments: Any) -> bool:
        validation.control.stop, validation.control.reason = "checkpoint", "stopped on request"
        return judge(validation, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validation, "judge", stop_first)
        first = train(tmp_path, small_config(images, **EVERYTHING))
    assert (first.ended.step, first.of(Validated)) == (6, [])
    second = train(tmp_path, small_config(images, **EVERYTHING, resume_from=str(tmp_path)))
    for one, other in zip(second.of(Validated), whole[0].of(Validated), strict=True):
        assert (one.epoch, one.metrics, one.best) == (other.epoch, other.metrics, other.best)


def test_a_damaged_newest_checkpoint_is_said_and_its_steps_are_done_again(
    whole: tuple[Result, Path], images: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole[1] / "checkpoints", tmp_path / "checkpoints")
    folder = tmp_path / "checkpoints"
    for entry in checkpoint_index.read_index(folder):
        if entry.step > 14:
            (folder / entry.file).write_bytes((folder / entry.file).read_bytes()[:-1])
    result = train(tmp_path, small_config(images, **EVERYTHING | {"keep_last": 2}, resume_from=str(tmp_path)))
    assert any("(step 18) is damaged" in event.text for event in result.of(Notice))
    assert result.of(ModelReady)[0].start_step == 14
    entries = checkpoint_index.read_index(folder)
    assert [e.step for e in entries][-2:] == [16, 18]
    assert all(checkpoint_index.is_whole(folder, e) for e in entries)


def test_changes_of_the_course_are_told_and_take_effect(
    whole: tuple[Result, Path], images: Path, tmp_path: Path
) -> None:
    folder = whole[1] / "checkpoints"
    source = str(folder / checkpoint_index.find(folder, "12").file)
    config = small_config(images, **EVERYTHING | {"weight_decay": 0.5, "lr": 0.01}, resume_from=source)
    result = train(tmp_path, config)
    told = [event.text for event in result.of(Notice)]
    assert "weight_decay: was 0.01 and is 0.5: the training differs from here on" in told
    groups = torch_checkpoint.load(str(tmp_path), pytest.fail)["optimizer"]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert losses(result)[18] != losses(whole[0])[18]


def test_other_data_are_refused(whole: tuple[Result, Path], tmp_path: Path) -> None:
    fewer = draw_images(tmp_path / "images", per_class=10)
    with pytest.raises(BadInput, match="the data had 36 training images and have 30"):
        train(tmp_path / "run", small_config(fewer, **EVERYTHING, resume_from=str(whole[1])))


def test_weights_that_are_gone_do_not_stop_a_run_from_going_on(
    whole: tuple[Result, Path], images: Path, tmp_path: Path
) -> None:
    config = small_config(images, **EVERYTHING, resume_from=str(whole[1]), weights="/nowhere/weights.pth")
    assert train(tmp_path, config).ended.step == 18
