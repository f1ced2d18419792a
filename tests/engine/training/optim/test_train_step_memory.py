"""Out of memory and failed compilation in the training step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training.training_tools import draw_images, small_config, train

from gputrain.engine.configuration import settings
from gputrain.engine.events import EpochEnded, ModelReady, Notice, Outcome, Steps, Validated
from gputrain.engine.training.loop import trainer
from gputrain.engine.training.loop.torch_step_windows import StepWindows
from gputrain.engine.training.networks.simple_cnn import SimpleCNN
from gputrain.engine.training.optim.step_failures import RepeatInParts
from gputrain.engine.training.optim.train_step import TrainStep
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.state import torch_checkpoint
from gputrain.engine.training.transforms.device_transforms import DevicePrefetcher, PreparedBatch

CPU = Compute(torch.device("cpu"), "a CPU", "fp32")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"))


class Small(SimpleCNN):
    """A network that raises OutOfMemoryError above a few images, like a GPU that is too small."""

    room = 2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(images)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_out_of_memory_splits_batches_and_loses_no_image(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulation: int
) -> None:
    changes = {"epochs": 2, "accumulation_steps": accumulation, "lr": 1e-4}
    whole = train(tmp_path, small_config(images, **changes))
    monkeypatch.setattr("gputrain.engine.training.models.create_model.SimpleCNN", Small)
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
    """Images of the steps that were kept, in order."""
    seen: list[int] = []
    done = trainer.Trainer._step_done

    def step_done(self: trainer.Trainer, loss: torch.Tensor, batches: int, device_batch: Any) -> None:
        seen.extend(device_batch.indices.tolist())
        done(self, loss, batches, device_batch)

    again = StepWindows.undo

    def undo(self: StepWindows, steps: int, count: int) -> None:
        if count:
            del seen[-count:]
        again(self, steps, count)

    monkeypatch.setattr(trainer.Trainer, "_step_done", step_done)
    monkeypatch.setattr(StepWindows, "undo", undo)
    return seen


def test_out_of_memory_for_a_single_image_ends_the_run(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Small, "room", 0)
    monkeypatch.setattr("gputrain.engine.training.models.create_model.SimpleCNN", Small)
    with pytest.raises(RuntimeError, match=r"too small for 8 parts of 1 images; use a smaller batch_size"):
        train(tmp_path, small_config(images))
    with pytest.raises(RuntimeError, match=r"too small for 1 parts of 6 images"):
        train(tmp_path, small_config(images, oom_fallback=False))


class Late(SimpleCNN):
    """Runs out of memory near the end of the forward pass."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs = super().forward(images)
        if torch.is_grad_enabled() and len(images) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return outputs


def stepper(network: torch.nn.Module, **changes: Any) -> TrainStep:
    run = settings.build({"batch_size": 8, "compile": False} | changes)
    return TrainStep(network, run, CPU, StepClock(CPU), lambda _level, _text: None, torch.nn.functional.cross_entropy)


def batch(count: int = 8) -> PreparedBatch:
    generator = torch.Generator().manual_seed(count)
    return PreparedBatch(torch.randn(count, 3, 32, 32, generator=generator), torch.arange(count) % 3, None, 1.0)


def test_a_failed_pass_does_not_change_batchnorm_buffers() -> None:
    torch.manual_seed(0)
    small = stepper(Late(3, 4))
    whole = stepper(SimpleCNN(3, 4))
    whole.network.load_state_dict(small.network.state_dict())
    with pytest.raises(torch.OutOfMemoryError):
        small.backward(batch(), 1.0)
    small.divide(0)
    whole.parts = 2
    for made in (small, whole):
        made.backward(batch(), 1.0)
        made.update(0.1, 1)
    mine, theirs = small.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert int(mine["stem.1.num_batches_tracked"]) == 2


@pytest.mark.parametrize("optimizer", ["adamw", "lamb", "rmsprop"])
def test_out_of_memory_for_optimizer_state_repeats_the_update(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    """Optimizer state is allocated in the first update: memory runs out there, and is enough at the second try."""
    allocate, calls = torch.zeros_like, 0

    def zeros_like(tensor: torch.Tensor, **options: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return allocate(tensor, **options)

    changes = {"epochs": 1, "optimizer": optimizer, "lr": 1e-4, "max_steps": 1, "val_split": ""}
    monkeypatch.setattr(torch, "zeros_like", zeros_like)
    result = train(tmp_path, small_config(images, **changes))
    assert result.ended.outcome is Outcome.FINISHED
    assert [event.text.partition(":")[0] for event in result.of(Notice)] == ["GPU memory ran out at step 1"]
    state = torch_checkpoint.load(str(tmp_path / "checkpoints"), pytest.fail)["optimizer"]["state"]
    assert {float(kept["step"]) for kept in state.values()} == {1.0}


def test_out_of_memory_after_weights_changed_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    made = stepper(SimpleCNN(3, 4), optimizer="adamw", ema_decay=0.9)

    def update(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(made.ema, "update", update)
    made.backward(batch(), 1.0)
    with pytest.raises(RuntimeError, match="during an optimizer update, which can't be repeated; use a smaller model"):
        made.update(0.1, 1)


def test_out_of_memory_in_validation_halves_the_samples_computed_at_once(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Untried(SimpleCNN):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if not self.training and len(images) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().forward(images)

    changes = {"epochs": 2, "val_batch_size": 14, "lr": 1e-4}
    whole = train(tmp_path, small_config(images, **changes))
    monkeypatch.setattr("gputrain.engine.training.models.create_model.SimpleCNN", Untried)
    result = train(tmp_path, small_config(images, **changes))
    assert [event.text.partition(":")[2] for event in result.of(Notice)] == [
        " at most 7 samples are computed at once from now on",
        " at most 4 samples are computed at once from now on",
    ]
    for mine, theirs in zip(result.of(Validated), whole.of(Validated), strict=True):
        assert mine.images == theirs.images == 18
        assert mine.metrics == pytest.approx(theirs.metrics, rel=1e-5)
    with pytest.raises(RuntimeError, match="too small to validate 14 samples at once; use a smaller val_batch_size"):
        train(tmp_path, small_config(images, **changes, oom_fallback=False))


@pytest.mark.parametrize("where", ["_move", "prepare"])
def test_a_validation_batch_that_does_not_fit_is_copied_again(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    changes = {"epochs": 1, "val_batch_size": 5, "lr": 1e-4}
    whole = train(tmp_path, small_config(images, **changes))
    original, calls = getattr(DevicePrefetcher, where), 0

    def crowded(self: DevicePrefetcher, batch: Any, *others: Any) -> Any:
        nonlocal calls
        if not self._train:
            calls += 1
            if calls in (3, 4):
                raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(self, batch, *others)

    monkeypatch.setattr(DevicePrefetcher, where, crowded)
    result = train(tmp_path, small_config(images, **changes))
    assert [event.text.partition(":")[2] for event in result.of(Notice)] == [
        " at most 3 samples are computed at once from now on",
        " at most 2 samples are computed at once from now on",
    ]
    (mine,), (theirs,) = result.of(Validated), whole.of(Validated)
    assert mine.images == theirs.images == 18
    assert mine.metrics == pytest.approx(theirs.metrics, rel=1e-5)


def test_a_failed_compilation_of_a_later_shape_repeats_the_update() -> None:
    torch.manual_seed(0)
    told: list[str] = []
    made = stepper(SimpleCNN(3, 4), compile=True)
    made._notice = lambda _level, text: told.append(text)
    plain = made.network

    def compiled(pictures: torch.Tensor) -> torch.Tensor:
        if len(pictures) == 3:
            raise ValueError("no code for this shape\nat line 9")
        outputs: torch.Tensor = plain(pictures)
        return outputs

    made._forward = compiled
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    made.backward(batch(8), 0.5)
    with pytest.raises(RepeatInParts):
        made.backward(batch(3), 0.5)
    assert told == ["torch.compile failed, going on without it: ValueError: no code for this shape"]
    assert not made.compiled
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())
    assert all(parameter.grad is None for parameter in plain.parameters())
    made.backward(batch(8), 0.5)
    made.backward(batch(3), 0.5)
    assert all(parameter.grad is not None for parameter in plain.parameters())


@pytest.mark.parametrize(
    ("changes", "owned"), [({}, False), ({"accumulation_steps": 2}, True), ({"set_to_none": False}, True)]
)
def test_gradients_that_outlive_a_cuda_graph_replay_are_allocated_outside_it(
    changes: dict[str, Any], owned: bool
) -> None:
    """If a CUDA graph is replayed before the update, gradients must accumulate outside its memory."""
    made = stepper(SimpleCNN(3, 4), **changes)
    made._graphs = True
    seen: list[bool] = []
    made.network.register_forward_pre_hook(
        lambda network, _: seen.append(all(p.grad is not None for p in network.parameters()))
    )
    made.backward(batch(), 1.0)
    assert seen == [owned]
    if not owned:
        made.divide(0)
        made.backward(batch(), 1.0)
        assert seen[1:] == [True, True]


def test_a_failed_compilation_is_reported_and_the_run_continues(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "/nonexistent/c++"))
    # A width that no other test has: torch keeps what it has compiled.
    plain = train(tmp_path, small_config(images, epochs=1, width=20))
    result = train(tmp_path, small_config(images, epochs=1, width=20, compile=True))
    assert result.ended.outcome is Outcome.FINISHED
    assert any(event.text.startswith("torch.compile failed, going on without it") for event in result.of(Notice))
    assert [event.compiled for event in result.of(ModelReady)] == [True, False], "told again once it is known"
    assert result.of(EpochEnded)[0].train_loss == plain.of(EpochEnded)[0].train_loss
