"""Settings that must not change the training: compares the losses of whole runs step by step.

What only moves work (workers, threads or processes, what waits ahead, pinning, caches of equal form) leaves every loss
the same to the last bit, with all augmentation switched on. What changes the order of sums (accumulation, memory
format, fused updates) or repeats work (gradient checkpointing) leaves them the same within float32 rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training.training_tools import draw_images, small_config, train
from torch import nn

from gputrain.engine.events import LoaderStats, Outcome
from gputrain.engine.training.cache import image_cache
from gputrain.engine.training.loop.torch_step_windows import StepWindows
from gputrain.engine.training.models import create_model
from gputrain.engine.training.networks.simple_cnn import SimpleCNN
from gputrain.engine.training.state import torch_checkpoint
from gputrain.engine.training.transforms.device_transforms import DeviceBatch

BATCH, EPOCHS = 6, 2
EVERYTHING: dict[str, Any] = {
    "batch_size": BATCH,
    "epochs": EPOCHS,
    "auto_augment": "randaugment",
    "color_jitter": 0.3,
    "hue_jitter": 0.1,
    "random_erasing": 0.5,
    "mixup": 0.2,
    "cutmix": 1.0,
    "progressive_start": 24,
    "progressive_epochs": 1,
    "crop_min_scale": 0.2,
}
ROUNDING = 2e-4
"""Largest relative difference of a loss for another order of float32 sums, over the eight updates of these runs: each
update enlarges it, and with a batch of six a batch norm does so most."""

Losses = list[tuple[tuple[int, ...], float]]
Run = Callable[..., Losses]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"), per_class=8)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread: small networks gain nothing from more, and the trainer would use all cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "set_num_threads", lambda count: None)
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that trains and returns images and loss of each step; its `stats` has the loader's."""
    (tmp_path / "shm").mkdir()
    monkeypatch.setattr(image_cache, "SHARED_MEMORY", tmp_path / "shm")
    count = 0

    def one(**changes: Any) -> Losses:
        nonlocal count
        count += 1
        directory = tmp_path / str(count)
        directory.mkdir()
        seen: Losses = []
        original = StepWindows.step_done

        def step_done(
            self: StepWindows, loss: torch.Tensor, step: int, count: int, batch: DeviceBatch, size: int
        ) -> None:
            seen.append((tuple(batch.indices.tolist()), float(loss)))
            original(self, loss, step, count, batch, size)

        with monkeypatch.context() as patch:
            patch.setattr(StepWindows, "step_done", step_done)
            result = train(directory, small_config(images, **changes))
        assert result.ended.outcome is Outcome.FINISHED
        hits[directory.name] = sum(event.cache_hits or 0 for event in result.of(LoaderStats))
        return seen

    hits: dict[str, int] = {}
    one.hits = hits  # type: ignore[attr-defined]
    return one


@pytest.fixture(scope="module")
def reference() -> dict[str, Losses]:
    """Reference runs, made once."""
    return {}


def the_first(reference: dict[str, Losses], name: str, make: Callable[[], Losses]) -> Losses:
    if name not in reference:
        reference[name] = make()
    return reference[name]


MOVED: dict[str, dict[str, Any]] = {
    "no workers": {"num_workers": 0},
    "one thread": {"num_workers": 1, "loader": "threads"},
    "five threads": {"num_workers": 5, "loader": "threads"},
    "processes": {"num_workers": 2, "loader": "processes"},
    "processes that end with each epoch": {"num_workers": 1, "loader": "processes", "persistent_workers": False},
    "one batch ahead": {"prefetch_factor": 1},
    "six batches ahead": {"prefetch_factor": 6},
    "pinned": {"pin_memory": True, "non_blocking": True},
    "blocking copies": {"pin_memory": True, "non_blocking": False},
    "checkpoints on the way": {"checkpoint_steps": 3},
    "no validation": {"val_split": ""},
}


@pytest.mark.parametrize("name", MOVED)
def test_losses_are_bit_identical_wherever_the_work_is_done(run: Run, reference: dict[str, Losses], name: str) -> None:
    expected = the_first(reference, "everything", lambda: run(**EVERYTHING))
    assert len(expected) == 4 * EPOCHS
    assert len({loss for _, loss in expected}) == len(expected), "losses that are all alike could not differ"
    assert run(**EVERYTHING | MOVED[name]) == expected


def test_another_seed_changes_the_losses(run: Run, reference: dict[str, Losses]) -> None:
    """Shows that the comparisons above can fail."""
    expected = the_first(reference, "everything", lambda: run(**EVERYTHING))
    other = run(**EVERYTHING, seed=1)
    assert all(mine != theirs for (_, mine), (_, theirs) in zip(expected, other, strict=True))


WHOLE: dict[str, Any] = EVERYTHING | {"progressive_start": 0, "val_resize": 48}
"""Images of 48 pixels are kept as they are by a raw cache for 48, and crops of them are too small to be decoded at
half their size: the cached form is the file's."""


@pytest.mark.parametrize("place", ["ram", "disk"])
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_raw_cache_of_the_same_pixels_gives_bit_identical_losses(
    run: Run, reference: dict[str, Losses], place: str, kind: str
) -> None:
    expected = the_first(reference, "whole", lambda: run(**WHOLE))
    assert run(**WHOLE, cache=place, loader=kind) == expected
    assert sum(run.hits.values()) > 0, "the second epoch comes from the cache"  # type: ignore[attr-defined]


def test_caches_of_one_format_give_the_same_losses(run: Run) -> None:
    """For every place, filled during the run or before, and for every kind of worker."""
    expected = run(**WHOLE, cache="ram", cache_form="jpeg")
    assert run(**WHOLE, cache="disk", cache_form="jpeg", loader="processes") == expected
    assert run(**WHOLE, cache="disk", cache_form="jpeg", num_workers=0) == expected


# What changes the order of sums.


def near(found: Losses, expected: Losses) -> bool:
    assert [indices for indices, _ in found] == [indices for indices, _ in expected]
    mine, theirs = (torch.tensor([loss for _, loss in losses]) for losses in (found, expected))
    return bool(((mine - theirs).abs() <= ROUNDING * theirs.abs()).all())


PLAIN: dict[str, Any] = {"batch_size": BATCH, "epochs": EPOCHS, "lr": 0.02}
REORDERED: dict[str, dict[str, Any]] = {
    "contiguous": {"channels_last": False},
    "an update for each weight": {"fused_optimizer": False},
    "gradients that are zeroed": {"set_to_none": False},
    "gradient checkpointing": {"gradient_checkpointing": True},
}


@pytest.mark.parametrize("name", REORDERED)
def test_reordering_sums_changes_losses_by_rounding_alone(run: Run, reference: dict[str, Losses], name: str) -> None:
    expected = the_first(reference, "plain", lambda: run(**PLAIN))
    assert near(run(**PLAIN | REORDERED[name]), expected)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_fused_optimizers_give_the_same_losses(run: Run, optimizer: str) -> None:
    changes = PLAIN | {"optimizer": optimizer, "lr": 0.001}
    assert near(run(**changes, fused_optimizer=False), run(**changes, fused_optimizer=True))


def test_a_wrong_learning_rate_exceeds_the_tolerance(run: Run, reference: dict[str, Losses]) -> None:
    """A learning rate that is off by two per cent must fail the comparison."""
    expected = the_first(reference, "plain", lambda: run(**PLAIN))
    assert not near(run(**PLAIN | {"lr": 0.0204}), expected)


def without_batch_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch norm sees batches, not updates; the same network with norms over single images."""

    def network(outputs: int, width: int) -> nn.Module:
        made = SimpleCNN(outputs, width)
        for sequence in (made.stem, *made.stages):
            for at, layer in enumerate(sequence):
                if isinstance(layer, nn.BatchNorm2d):
                    sequence[at] = nn.GroupNorm(1, layer.num_features)
        return made

    monkeypatch.setattr(create_model, "SimpleCNN", network)


@pytest.mark.parametrize("steps", [2, 3])
def test_accumulated_batches_equal_one_large_batch(run: Run, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    without_batch_norms(monkeypatch)
    large = run(**PLAIN)
    small = run(**PLAIN | {"batch_size": BATCH // steps, "accumulation_steps": steps})
    groups = [small[at : at + steps] for at in range(0, len(small), steps)]
    joined = [(tuple(i for part, _ in group for i in part), sum(loss for _, loss in group) / steps) for group in groups]
    assert near(joined, large)


def test_weights_are_equal_where_losses_are(run: Run, tmp_path: Path) -> None:
    run(**EVERYTHING)
    run(**EVERYTHING | MOVED["processes"])
    first, second = (torch_checkpoint.load(str(tmp_path / name), pytest.fail)["model"] for name in ("1", "2"))
    assert all(torch.equal(first[name], second[name]) for name in first)
