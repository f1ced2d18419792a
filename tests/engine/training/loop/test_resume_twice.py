"""Runs that go on, end early, or have other images than before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.training.training_tools import Result, draw_images, small_config, train

from gputrain.engine.common.errors import BadInput
from gputrain.engine.events import EpochEnded, Outcome, Validated
from gputrain.engine.training.state import torch_checkpoint


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"))


def weights(directory: Path, key: str = "model") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch_checkpoint.load(str(directory), pytest.fail)[key]
    return state


EVERYTHING = {
    "epochs": 3, "ema_decay": 0.9, "mixup": 0.4, "cutmix": 1.0, "random_erasing": 0.5, "color_jitter": 0.3,
    "label_smoothing": 0.1, "clip_grad_norm": 1.0, "schedule": "one_cycle", "optimizer": "adamw", "lr": 0.002,
    "gradient_checkpointing": True, "warmup_epochs": 0.5,
}  # fmt: skip


def test_going_on_is_exact_with_everything_on(images: Path, tmp_path: Path) -> None:
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    for folder in (whole, first, second):
        folder.mkdir()
    result: Result = train(whole, small_config(images, **EVERYTHING))
    train(first, small_config(images, **EVERYTHING, checkpoint_steps=8, keep_last=9))
    part = first / "checkpoints" / "step-00000008.pt"
    rest = train(second, small_config(images, **EVERYTHING, num_workers=0, resume_from=str(part)))
    for key in ("model", "ema"):
        mine, theirs = weights(second, key), weights(whole, key)
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs), key
    assert rest.of(EpochEnded)[-1].train_loss == result.of(EpochEnded)[-1].train_loss
    assert rest.of(Validated)[-1].metrics == result.of(Validated)[-1].metrics


def test_a_run_that_is_no_longer_getting_better_ends_early(images: Path, tmp_path: Path) -> None:
    result = train(tmp_path, small_config(images, epochs=30, lr=1e-9, early_stop=2))
    assert result.ended.outcome is Outcome.FINISHED
    assert "2 validations in a row" in result.ended.reason
    assert len(result.of(Validated)) == 3
    assert weights(tmp_path)


def test_other_training_images_are_refused(images: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    train(first, small_config(images, epochs=1))
    more = draw_images(tmp_path / "more", per_class=13)
    with pytest.raises(BadInput, match="had 36 training images and have 39"):
        train(tmp_path, small_config(more, resume_from=str(first)))


def test_the_best_is_kept_where_a_step_has_a_checkpoint_already(images: Path, tmp_path: Path) -> None:
    """An epoch whose last step is due for a checkpoint, before the validation that makes it the best."""
    train(tmp_path, small_config(images, epochs=1, checkpoint_steps=6))
    best = torch_checkpoint.load(str(tmp_path / "checkpoints" / "best.pt"), pytest.fail)
    assert best["position"]["best"] is not None
