"""Several ranks that train together: real processes over gloo, compared with one process."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from training_tools import Result, collecting, draw_images, small_config

from gputrain.engine import checkpoints
from gputrain.engine.commands import AnyCommand, encode_command
from gputrain.engine.config import RunConfig
from gputrain.engine.events import AnyEvent, EpochEnded, RunEnded, Steps, Validated
from gputrain.engine.runs import RunDir
from gputrain.engine.training import worker


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # 36 images for training: 3 batches of 12, or of 6 on each of two ranks.
    return draw_images(tmp_path_factory.mktemp("images"))


def run(
    home: Path,
    config: RunConfig,
    when: Callable[[AnyEvent], bool] = lambda event: False,
    then: Callable[[int, Any], None] = lambda pid, commands: None,
    commands: tuple[AnyCommand, ...] = (),
) -> Result:
    """Train in a process of its own, as a supervisor does; `then` is called with its pid and pipe once `when` is met."""
    home.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    outbox = context.Queue()
    theirs, ours = context.Pipe(duplex=False)
    for command in commands:
        ours.send_bytes(encode_command(command))
    process = context.Process(target=worker.run, args=(str(home), msgspec.json.encode(config), outbox, theirs))
    with collecting(outbox) as found:
        process.start()
        seen = 0
        while process.is_alive():
            process.join(0.05)
            for event in found[seen:]:
                seen += 1
                if when(event):
                    then(process.pid or 0, ours)
                    when = lambda event: False  # noqa: E731
        process.join()
    ended = [event for event in found if isinstance(event, RunEnded)]
    assert len(ended) == 1, process.exitcode
    return Result(ended[0], found)


PLAIN = """
from torch import nn

def make(outputs):
    # Without BatchNorm, whose figures depend on which images share a batch, and without dropout.
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.GroupNorm(4, 16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, outputs),
    )
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of a network of a person's own."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "plainnet.py").write_text(PLAIN)
    return {"model": "plainnet:make", "code_dir": str(folder)}


def two(images: Path, **changes: Any) -> RunConfig:
    return small_config(images, **({"ranks": 2, "batch_size": 6} | changes))


def weights(home: Path) -> dict[str, torch.Tensor]:
    newest = checkpoints.read_index(home / "checkpoints")[-1]
    state = torch.load(home / "checkpoints" / newest.file, weights_only=True)
    found: dict[str, torch.Tensor] = state["model"]
    return found


def epochs(result: Result) -> list[float]:
    return [event.train_loss for event in result.of(EpochEnded)]


def test_two_ranks_learn_what_one_process_learns_from_twice_the_batch(
    images: Path, plain: dict[str, Any], tmp_path: Path
) -> None:
    changes = {**plain, "epochs": 3, "accumulation_steps": 2, "clip_grad_norm": 1.0, "ema_decay": 0.9}
    alone = run(tmp_path / "alone", small_config(images, batch_size=12, **changes))
    both = run(tmp_path / "both", two(images, **changes))
    assert both.ended == alone.ended, both.ended
    assert epochs(both) == pytest.approx(epochs(alone), rel=1e-5)
    theirs = {name: tensor for name, tensor in weights(tmp_path / "both").items()}
    for name, tensor in weights(tmp_path / "alone").items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-4, atol=1e-6)
    for one, other in zip(alone.of(Validated), both.of(Validated), strict=True):
        assert one.images == other.images == 18
        assert other.metrics == pytest.approx(one.metrics, rel=1e-5)
    assert both.of(Steps)[-1].images == alone.of(Steps)[-1].images == 108
    assert both.of(Steps)[-1].exchange is not None
    assert alone.of(Steps)[-1].exchange is None
