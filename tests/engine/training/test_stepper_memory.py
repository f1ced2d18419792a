"""What is done where a GPU has too little memory, and where compiling fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training_tools import draw_images, small_config, train

from gputrain.engine.events import EpochEnded, ModelReady, Notice, Outcome, Steps
from gputrain.engine.training import trainer
from gputrain.engine.training.simple_cnn import SimpleCNN
from gputrain.engine.training.windows import Windows


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"))


class Small(SimpleCNN):
    """A network on a device with room for a few images, as a GPU that is too small."""

    room = 2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(images)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_too_little_memory_divides_the_batches_and_loses_nothing(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulation: int
) -> None:
    changes = {"epochs": 2, "accumulation_steps": accumulation, "lr": 1e-4}
    whole = train(tmp_path, small_config(images, **changes))
    monkeypatch.setattr("gputrain.engine.training.model.SimpleCNN", Small)
    seen = spy_on_images(monkeypatch)
    result = train(tmp_path, small_config(images, **changes))
    assert result.ended.outcome is Outcome.FINISHED
    told = [event.text for event in result.of(Notice)]
    assert [text.split(":")[1].split(";")[0].strip() for text in told] == [
        "each batch is computed in 2 parts of 3 images from now on",
        "each batch is computed in 4 parts of 2 images from now on",
    ]
    steps = result.of(Steps)
    assert sum(event.window_steps for event in steps) == steps[-1].step == 12
    assert steps[-1].images == 72
    for epoch in (0, 1):
        assert sorted(seen[epoch * 36 : epoch * 36 + 36]) == list(range(36)), "each image once an epoch"
    # Batch norm sees smaller batches: the same within its noise.
    losses = [event.train_loss for run in (whole, result) for event in run.of(EpochEnded)]
    assert losses[:2] == pytest.approx(losses[2:], rel=0.15)


def spy_on_images(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images of steps that counted, in their order."""
    seen: list[int] = []
    done = trainer.Trainer._step_done

    def step_done(self: trainer.Trainer, loss: torch.Tensor, device_batch: Any) -> None:
        seen.extend(device_batch.indices.tolist())
        done(self, loss, device_batch)

    again = Windows.undo

    def undo(self: Windows, steps: int, count: int) -> None:
        if count:
            del seen[-count:]
        again(self, steps, count)

    monkeypatch.setattr(trainer.Trainer, "_step_done", step_done)
    monkeypatch.setattr(Windows, "undo", undo)
    return seen


def test_memory_for_not_even_one_image_ends_the_run(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Small, "room", 0)
    monkeypatch.setattr("gputrain.engine.training.model.SimpleCNN", Small)
    with pytest.raises(RuntimeError, match=r"too small for 8 parts of 1 images; a smaller batch_size"):
        train(tmp_path, small_config(images))
    with pytest.raises(RuntimeError, match=r"too small for 1 parts of 6 images"):
        train(tmp_path, small_config(images, oom_fallback=False))


def test_a_failed_compilation_is_told_and_the_run_goes_on(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "/nonexistent/c++"))
    # A width that no other test has: torch keeps what it has compiled.
    plain = train(tmp_path, small_config(images, epochs=1, width=20))
    result = train(tmp_path, small_config(images, epochs=1, width=20, compile=True))
    assert result.ended.outcome is Outcome.FINISHED
    assert any(event.text.startswith("torch.compile failed, going on without it") for event in result.of(Notice))
    assert result.of(ModelReady)[0].compiled
    assert result.of(EpochEnded)[0].train_loss == plain.of(EpochEnded)[0].train_loss
