"""Several ranks: real processes over gloo, compared with one process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import torch
from helpers.training.training_tools import Result, collecting, draw_images, small_config

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import (
    AnyEvent,
    CheckpointSaved,
    EpochEnded,
    LoaderStats,
    Notice,
    Outcome,
    Phase,
    PhaseChanged,
    RunEnded,
    Steps,
    Tuned,
    Validated,
)
from gputrain.engine.events.commands import (
    AnyCommand,
    CheckpointCommand,
    PauseCommand,
    ResumeCommand,
    StopCommand,
    TuneCommand,
    encode_command,
)
from gputrain.engine.supervision import trainer_main


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # 36 images for training: 3 batches of 12, or of 6 on each of two ranks.
    return draw_images(tmp_path_factory.mktemp("images"))


Step = tuple[Callable[[AnyEvent], bool], Callable[[int, Callable[[AnyCommand], None]], object]]


def run(home: Path, config: RunConfig, *script: Step) -> Result:
    """Train in a process of its own, as a supervisor does.

    When an event meets the first of a step of `script`, the second is called with rank 0's pid and what sends a
    command; then it is the next step's turn, unless that returns True.
    """
    home.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    outbox = context.Queue()
    theirs, ours = context.Pipe(duplex=False)
    send = lambda command: ours.send_bytes(encode_command(command))  # noqa: E731
    steps = list(script)
    process = context.Process(target=trainer_main.run, args=(str(home), msgspec.json.encode(config), outbox, theirs))
    with collecting(outbox) as found:
        process.start()
        seen = 0
        while process.is_alive():
            process.join(0.05)
            for event in found[seen:]:
                seen += 1
                if steps and steps[0][0](event) and steps[0][1](process.pid or 0, send) is not True:
                    steps.pop(0)
        process.join()
    ended = [event for event in found if isinstance(event, RunEnded)]
    assert len(ended) == 1, process.exitcode
    return Result(ended[0], found)


PLAIN = """
from torch import nn

def make(outputs):
    # Without BatchNorm, whose statistics depend on the batch, and without dropout.
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.GroupNorm(4, 16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, outputs),
    )
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings for a user's network."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "plainnet.py").write_text(PLAIN)
    return {"model": "plainnet:make", "code_dir": str(folder)}


def two(images: Path, **changes: Any) -> RunConfig:
    return small_config(images, **({"ranks": 2, "batch_size": 6} | changes))


def weights(home: Path) -> dict[str, torch.Tensor]:
    newest = checkpoint_index.read_index(home / "checkpoints")[-1]
    state = torch.load(home / "checkpoints" / newest.file, weights_only=True)
    found: dict[str, torch.Tensor] = state["model"]
    return found


def epochs(result: Result) -> list[float]:
    return [event.train_loss for event in result.of(EpochEnded)]


@pytest.mark.long
def test_two_ranks_equal_one_process_with_twice_the_batch(images: Path, plain: dict[str, Any], tmp_path: Path) -> None:
    changes = {**plain, "epochs": 3, "accumulation_steps": 2, "clip_grad_norm": 1.0, "ema_decay": 0.9}
    alone = run(tmp_path / "alone", small_config(images, batch_size=12, **changes))
    both = run(tmp_path / "both", two(images, **changes))
    assert both.ended == alone.ended, both.ended
    assert epochs(both) == pytest.approx(epochs(alone), rel=1e-5)
    theirs = weights(tmp_path / "both")
    for name, tensor in weights(tmp_path / "alone").items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-4, atol=1e-6)
    for one, other in zip(alone.of(Validated), both.of(Validated), strict=True):
        assert one.images == other.images == 18
        assert other.metrics == pytest.approx(one.metrics, rel=1e-5)
    assert both.of(Steps)[-1].images == alone.of(Steps)[-1].images == 108
    assert sum(window.exchange for window in both.of(Steps)) > 0
    assert alone.of(Steps)[-1].exchange is None


SHORT = """
import torch
import torch.distributed as dist
from torch import nn

class Short(nn.Module):
    # Rank 1's memory is too small for more than three images, in the midst of the backward pass.
    def __init__(self, outputs):
        super().__init__()
        self.first, self.last = nn.Linear(3 * 32 * 32, 8), nn.Linear(8, outputs)

    def forward(self, x):
        hidden = self.first(x.flatten(1))
        if self.training and len(x) > 3 and dist.is_initialized() and dist.get_rank() == 1:
            hidden.register_hook(full)
        return self.last(hidden)

def full(gradient):
    raise torch.OutOfMemoryError("CUDA out of memory (made by a test)")

def make(outputs):
    return Short(outputs)
"""


@pytest.mark.long
def test_out_of_memory_on_one_rank_splits_the_batch_on_all(images: Path, tmp_path: Path) -> None:
    (tmp_path / "shortnet.py").write_text(SHORT)
    model = {"model": "shortnet:make", "code_dir": str(tmp_path), "lr": 0.01}
    alone = run(tmp_path / "alone", small_config(images, batch_size=12, **model))
    both = run(tmp_path / "both", two(images, **model))
    assert both.ended == alone.ended, both.ended
    assert epochs(both) == pytest.approx(epochs(alone), rel=1e-5)
    assert both.of(Steps)[-1].batch_parts == 2
    told = [event.text for event in both.of(Notice) if "GPU memory ran out" in event.text]
    assert len(told) == 1, "all ranks say the same, and it is told once"


DROPPING = """
from torch import nn

def make(outputs):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(128, outputs),
    )
"""


@pytest.mark.long
def test_resume_of_two_ranks_is_exact(images: Path, tmp_path: Path) -> None:
    # With BatchNorm, and dropout from each rank's own generator.
    (tmp_path / "dropnet.py").write_text(DROPPING)
    config = two(images, model="dropnet:make", code_dir=str(tmp_path), epochs=6, checkpoint_epochs=0)
    run(tmp_path / "whole", config)
    first = run(
        tmp_path / "first",
        config,
        (
            lambda event: isinstance(event, EpochEnded),
            lambda _, send: send(StopCommand(checkpoint=True, sender="a test")),
        ),
    )
    assert first.ended.outcome is Outcome.STOPPED
    assert 3 <= first.ended.step < 18
    newest = (
        tmp_path / "first" / "checkpoints" / checkpoint_index.read_index(tmp_path / "first" / "checkpoints")[-1].file
    )
    rest = run(tmp_path / "rest", msgspec.structs.replace(config, resume_from=str(newest)))
    assert rest.ended.outcome is Outcome.FINISHED, rest.ended
    expected = weights(tmp_path / "whole")
    for name, tensor in weights(tmp_path / "rest").items():
        if "running" in name:
            # The ranks' means, taken once more often.
            torch.testing.assert_close(expected[name], tensor)
        else:
            assert torch.equal(expected[name], tensor), name


def test_a_killed_rank_ends_the_run_and_is_named(images: Path, plain: dict[str, Any], tmp_path: Path) -> None:
    result = run(tmp_path / "run", two(images, **plain, epochs=10_000), (stepping, lambda pid, _: kill_other(pid)))
    assert result.ended.outcome is Outcome.KILLED
    assert result.ended.reason == "rank 1 was killed by SIGKILL from outside"
    assert result.ended.step > 0


@pytest.mark.long
def test_no_rank_outlives_a_killed_rank_0(images: Path, plain: dict[str, Any], tmp_path: Path) -> None:
    others: list[psutil.Process] = []

    def kill(pid: int, _: Any) -> None:
        others.extend(ranks_of(pid))
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(AssertionError, match="-9"):
        run(tmp_path / "run", two(images, **plain, epochs=10_000), (stepping, kill))
    assert others
    _, alive = psutil.wait_procs(others, timeout=30)
    assert not alive


def stepping(event: AnyEvent) -> bool:
    return isinstance(event, Steps)


def ranks_of(pid: int) -> list[psutil.Process]:
    """The ranks that rank 0 has started."""
    return [child for child in psutil.Process(pid).children() if "spawn_main" in " ".join(child.cmdline())]


def kill_other(pid: int) -> None:
    ranks_of(pid)[0].kill()


@pytest.mark.long
def test_bad_settings_are_reported_once(images: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "run", two(images, model="resnet_50"))
    assert result.ended.outcome is Outcome.FAILED
    assert result.ended.reason.startswith("model: ")
    assert "resnet50" in result.ended.reason


@pytest.mark.long
def test_pause_checkpoint_and_live_tuning_reach_all_ranks(images: Path, plain: dict[str, Any], tmp_path: Path) -> None:
    config = two(images, **plain, image_size=96, val_resize=96, epochs=10_000, checkpoint_epochs=0)
    changes = {"num_workers": 1, "prefetch_factor": 3}
    newest: list[Tuned] = []

    def tuned(event: AnyEvent) -> bool:
        newest.extend([event] if isinstance(event, Tuned) else [])
        return isinstance(event, Tuned)

    def until_judged(_: int, send: Callable[[AnyCommand], None]) -> bool:
        if newest[-1].verdict == "refused":
            assert newest[-1].later, newest[-1]
            time.sleep(1)
            send(TuneCommand(changes=changes))
        if newest[-1].verdict in ("kept", "reverted"):
            send(StopCommand(checkpoint=True, sender="a test"))
        return newest[-1].verdict not in ("kept", "reverted")

    def go_on(_: int, send: Callable[[AnyCommand], None]) -> None:
        send(ResumeCommand(sender="a test"))
        send(CheckpointCommand(sender="a test"))

    result = run(
        tmp_path / "run",
        config,
        (stepping, lambda _, send: send(PauseCommand(sender="a test"))),
        (lambda event: isinstance(event, PhaseChanged) and event.phase is Phase.PAUSED, go_on),
        (lambda event: isinstance(event, CheckpointSaved), lambda _, send: send(TuneCommand(changes=changes))),
        (tuned, until_judged),
    )
    assert result.ended.outcome is Outcome.STOPPED, result.ended
    assert next(event.verdict for event in newest if event.verdict != "refused") == "trying"
    assert {(event.workers, event.kind) for event in result.of(LoaderStats)} == {(2, "threads"), (1, "threads")}
