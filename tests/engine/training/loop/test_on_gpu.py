"""What only a GPU shows: no hidden waits, times by events, memory that really runs out, figures as on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.training.device_batches import config, prepared, stepper
from helpers.training.training_tools import Result, draw_images, small_config, train

from gputrain.engine.events import EpochEnded, LoaderStats, ModelReady, Notice, Outcome, Steps
from gputrain.engine.training.loop.trainer import Trainer
from gputrain.engine.training.runtime import device
from gputrain.engine.training.state import torch_checkpoint

pytestmark = [
    pytest.mark.gpu,
    # What torch says to itself of its compiler and of TF32 is not what is tested.
    pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore::FutureWarning:torch"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

NOT_SLOWED = {"device": "cuda", "pin_memory": True, "cudnn_benchmark": False}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def repeatable() -> Iterator[None]:
    """Kernels that add in the same order each time."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    yield
    torch.backends.cudnn.deterministic = before


def epoch_losses(result: Result) -> list[float]:
    return [event.train_loss for event in result.of(EpochEnded)]


def on_gpu(images: Path, folder: Path, **changes: object) -> Result:
    return train(folder, small_config(images, **NOT_SLOWED | changes))


@pytest.mark.parametrize("nonfinite_loss", ["stop", "skip"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_no_step_waits_for_the_device(precision: device.Precision, nonfinite_loss: str) -> None:
    changes = {"clip_grad_norm": 1.0, "ema_decay": 0.9, "mixup": 0.2, "random_erasing": 0.3}
    run = config(precision=precision, device="cuda", nonfinite_loss=nonfinite_loss, **changes)
    compute = device.set_up(run, lambda _level, text: pytest.fail(text))
    made = stepper(run, compute)
    batch = prepared(run, compute)
    for number in range(1, 4):
        made.backward(batch, 1.0)
        made.update(0.1, number)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(4, 8):
            made.backward(batch, 1.0)
            made.update(0.1, number)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "fp16", "nonfinite_loss": "skip", "accumulation_steps": 2, "ema_decay": 0.9},
        {"auto_augment": "randaugment", "color_jitter": 0.3, "random_erasing": 0.3, "mixup": 0.2, "cutmix": 0.2},
        {"auto_augment": "trivialaugment", "clip_grad_norm": 1.0},
        pytest.param({"compile": True}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_whole_trainers_steady_steps_wait_for_nothing(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    """Feed, augmentation, step, meter and windows, from the fourth update to the end of each epoch."""
    between, end, watched = Trainer._between_updates, Trainer._end_epoch, 0

    def between_updates(self: Trainer) -> None:
        nonlocal watched
        between(self)
        if self._position.updates >= 3:
            torch.cuda.set_sync_debug_mode("error")
            watched += 1

    def end_epoch(self: Trainer, seconds: float, count: int) -> None:
        torch.cuda.set_sync_debug_mode("default")
        end(self, seconds, count)

    monkeypatch.setattr(Trainer, "_between_updates", between_updates)
    monkeypatch.setattr(Trainer, "_end_epoch", end_epoch)
    try:
        result = on_gpu(images, tmp_path, epochs=4, **changes)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert result.ended.outcome is Outcome.FINISHED
    assert watched > 6


def test_the_gpu_learns_what_the_cpu_does(images: Path, tmp_path: Path) -> None:
    changes = {"tf32": False, "lr": 1e-3}
    there = on_gpu(images, tmp_path, **changes)
    here = train(tmp_path, small_config(images, **changes))
    assert epoch_losses(there) == pytest.approx(epoch_losses(here), rel=1e-3)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_lower_precision_learns_the_same_within_its_own(images: Path, tmp_path: Path, precision: str) -> None:
    full = on_gpu(images, tmp_path, tf32=False, lr=1e-3)
    lower = on_gpu(images, tmp_path, precision=precision, lr=1e-3)
    assert epoch_losses(lower) == pytest.approx(epoch_losses(full), rel=0.03)


def test_windows_tell_times_by_events_and_the_allocators_figures(images: Path, tmp_path: Path) -> None:
    result = on_gpu(images, tmp_path, epochs=4)
    ready = result.of(ModelReady)[0]
    assert ready.device.startswith("cuda")
    assert ready.flops_per_image
    windows: list[Steps] = result.of(Steps)
    assert sum(window.compute or 0.0 for window in windows) > 0
    assert sum(window.copy or 0.0 for window in windows) > 0
    assert sum(window.bytes_copied or 0 for window in windows) == windows[-1].images * 3 * 32 * 32
    for window in windows:
        assert window.launch_gap is not None
        assert window.vram_allocated is not None
        assert window.vram_peak is not None
        assert 0 < window.vram_allocated <= window.vram_peak
    assert result.of(LoaderStats)


def test_going_on_is_exact(images: Path, tmp_path: Path, repeatable: None) -> None:
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    for folder in (whole, first, second):
        folder.mkdir()
    changes: dict[str, object] = {"precision": "fp16", "ema_decay": 0.9, "mixup": 0.3, "accumulation_steps": 2}
    result = on_gpu(images, whole, **changes)
    on_gpu(images, first, **changes, checkpoint_steps=4, keep_last=9)
    part = first / "checkpoints" / "step-00000004.pt"
    rest = on_gpu(images, second, **changes, num_workers=0, resume_from=str(part))
    mine, theirs = (torch_checkpoint.load(str(folder), pytest.fail)["model"] for folder in (second, whole))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert epoch_losses(rest)[-1] == epoch_losses(result)[-1]


def test_memory_that_really_runs_out_divides_the_batches(images: Path, tmp_path: Path) -> None:
    changes = {"model": "resnet18", "image_size": 256, "batch_size": 36, "epochs": 2, "lr": 1e-4}
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    whole = on_gpu(images, tmp_path, **changes)
    needed = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.75 * needed / torch.cuda.get_device_properties(0).total_memory)
    try:
        divided = on_gpu(images, tmp_path, **changes)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert divided.ended.outcome is Outcome.FINISHED
    assert any("each batch is computed in" in notice.text for notice in divided.of(Notice))
    assert divided.of(Steps)[-1].images == whole.of(Steps)[-1].images
    assert epoch_losses(divided) == pytest.approx(epoch_losses(whole), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "changes"),
    [
        ("default", {}),
        ("reduce-overhead", {}),
        # The gradients of a replayed graph are added to those of the replay before.
        ("reduce-overhead", {"accumulation_steps": 2}),
        ("reduce-overhead", {"set_to_none": False}),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_steps_learn_the_same(images: Path, tmp_path: Path, mode: str, changes: dict[str, object]) -> None:
    plain = on_gpu(images, tmp_path, tf32=False, lr=1e-3, **changes)
    compiled = on_gpu(images, tmp_path, tf32=False, lr=1e-3, compile=True, compile_mode=mode, **changes)
    assert not [notice.text for notice in compiled.of(Notice) if notice.text.startswith("torch.compile failed")]
    assert epoch_losses(compiled) == pytest.approx(epoch_losses(plain), rel=1e-2)
