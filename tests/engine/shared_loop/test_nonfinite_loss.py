"""NaN and Inf losses and gradients: skipped updates change nothing, are logged, and end a run that diverged."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training.training_tools import Result, small_config, train

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.configuration import settings
from gputrain.engine.events import EpochEnded, Notice, Outcome, Steps
from gputrain.engine.shared_loop import step_windows
from gputrain.engine.shared_loop.nonfinite_loss import MOST_IN_A_ROW, DoneStep, NonFiniteLossError, NonFinitePolicy
from gputrain.engine.training.networks.simple_cnn import SimpleCNN
from gputrain.engine.training.optim.batchnorm_buffers import BatchNormBuffers
from gputrain.engine.training.optim.nonfinite_gradients import NonFiniteGradientGuard
from gputrain.engine.training.optim.train_step import TrainStep
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.state import torch_checkpoint
from gputrain.engine.training.tasks.classification import Classification
from gputrain.engine.training.transforms.device_transforms import PreparedBatch

CPU = Compute(torch.device("cpu"), "a CPU", "fp32")
RULES: list[dict[str, Any]] = [
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "fused_optimizer": False, "accumulation_steps": 1},
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "adamw", "clip_grad_norm": 1.0},
    {"optimizer": "rmsprop"},
    {"optimizer": "lamb"},
]

DATA = '''
import torch
from torch.utils.data import Dataset


class Pictures(Dataset):
    """Images of two classes; those in `bad` are NaN."""

    classes = 2

    def __init__(self, bad):
        self.bad = bad
        self.pictures = torch.randn(24, 3, 16, 16, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        picture = self.pictures[index] + index % 2
        return picture * float("nan") if index in self.bad else picture, index % 2


def fine(data_dir):
    return Pictures(())


def one(data_dir):
    return Pictures((7,))


def most(data_dir):
    return Pictures(range(2, 24))
'''


@pytest.fixture(scope="module", autouse=True)
def each_step_is_reported() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_windows, "WINDOW_SECONDS", 0.0)
        patch.setattr(torch, "set_num_threads", lambda count: None)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("code")
    (folder / "nandata.py").write_text(DATA)
    finders = list(sys.meta_path)
    yield folder
    sys.meta_path[:] = finders
    sys.modules.pop("nandata", None)


def run(directory: Path, code: Path, which: str, stop_at: int | None = None, **changes: Any) -> Result:
    directory.mkdir(exist_ok=True)
    values = {
        "dataset": "custom", "custom": f"nandata:{which}", "code_dir": str(code), "augment": "none", "val_split": "",
        "batch_size": 4, "ema_decay": 0.9, "lr": 0.01, "num_workers": 1, "nonfinite_loss": "skip", "epochs": 2,
    }  # fmt: skip
    return train(directory, small_config(code, **values | changes), stop_at=stop_at)


def state(directory: Path) -> dict[str, Any]:
    return torch_checkpoint.load(str(directory), pytest.fail)


def tensors(content: Any) -> list[torch.Tensor]:
    match content:
        case torch.Tensor():
            return [content]
        case dict():
            return [tensor for value in content.values() for tensor in tensors(value)]
        case list() | tuple():
            return [tensor for value in content for tensor in tensors(value)]
    return []


def same(one: Any, other: Any) -> bool:
    pairs = zip(tensors(one), tensors(other), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


def stepper(**changes: Any) -> TrainStep:
    torch.manual_seed(0)
    config = settings.build({"ema_decay": 0.9, "nonfinite_loss": "skip", "precision": "fp32"} | changes)
    return TrainStep(
        SimpleCNN(2, 4), config, CPU, StepClock(CPU), lambda _, text: pytest.fail(text), Classification(2).loss
    )


def batch(seed: int, *, bad: bool = False) -> PreparedBatch:
    pictures = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    pictures[2] *= float("inf") if bad else 1.0
    return PreparedBatch(pictures, torch.arange(4) % 2, None, 1.0)


def everything(made: TrainStep) -> list[Any]:
    assert made.ema is not None
    parts = (made.network.state_dict(), made.ema.network.state_dict(), made.optimizer.state_dict())
    return copy.deepcopy(list(parts))


def do(made: TrainStep, number: int, *batches: PreparedBatch) -> bool:
    for one in batches:
        made.backward(one, 1 / len(batches))
    made.update(0.01, number)
    assert made.skipped is not None
    return bool(made.skipped)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(map(str, rule.values())))
@pytest.mark.parametrize("first", [True, False])
def test_a_skipped_update_changes_nothing(rule: dict[str, Any], first: bool) -> None:
    """The first update, without optimizer state, and a later one, of which one half was finite."""
    hurt, spared = stepper(**rule), stepper(**rule)
    if not first:
        assert not do(hurt, 1, batch(1))
        assert not do(spared, 1, batch(1))
    before = everything(hurt)
    assert do(hurt, 2, batch(2), batch(3, bad=True))
    after = everything(hurt)
    assert same(before[0], after[0])
    assert same(before[1], after[1])
    assert first or same(before[2], after[2])
    assert not do(hurt, 3, batch(4))
    assert not do(spared, 3, batch(4))
    assert same(everything(hurt), everything(spared))
    assert all(tensor.isfinite().all() for tensor in tensors(everything(hurt)))


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_nonfinite_loss_or_gradient_skips_the_update(clip: float) -> None:
    made = stepper(clip_grad_norm=clip)
    assert not do(made, 1, batch(1))
    before = everything(made)
    for number, loss in enumerate((_no_loss, _no_gradients), 2):
        made._criterion = loss
        assert do(made, number, batch(2))
        assert same(everything(made), before)


def _no_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return outputs.sum() * 1e-3 + torch.inf


def _no_gradients(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs * 0).sqrt().sum()


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_the_search_for_a_loss_scale_is_the_same_with_the_guard(clip: float) -> None:
    """A real GradScaler, whose first scales are far too large."""
    pair = [stepper(clip_grad_norm=clip), stepper(clip_grad_norm=clip, nonfinite_loss="stop")]
    for made in pair:
        made.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    weights = copy.deepcopy(pair[0].network.state_dict())
    skipped = 0
    for number in range(1, 9):
        for made in pair:
            made.backward(batch(number), 1.0)
            made.update(0.01, number)
        assert pair[0].scaler.get_scale() == pair[1].scaler.get_scale()
        assert pair[0].skipped is not None
        skipped += bool(pair[0].skipped)
        if skipped == number:
            assert same(pair[0].network.state_dict(), weights)
    assert 0 < skipped < 8
    for mine, theirs in zip(pair[0].network.parameters(), pair[1].network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.isfinite().all()


def test_the_skip_flag_stays_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device, reading a value raises."""
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: None)
    with torch.device("meta"):
        network = SimpleCNN(2, 4)
        pictures = torch.randn(4, 3, 32, 32)
    guard = NonFiniteGradientGuard(torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, fused=True))
    figures = BatchNormBuffers(network)
    figures.begin()
    network(pictures).sum().backward()
    skip = guard.should_skip(None)
    assert skip.device.type == "meta"
    assert not guard.waits
    guard.update(skip)
    figures.put_back(skip)


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw", "clip_grad_norm": 1.0, "accumulation_steps": 2}])
def test_a_run_with_a_nan_sample_finishes_and_names_it(code: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    result = run(tmp_path, code, "one", **changes)
    assert result.ended.outcome is Outcome.FINISHED
    assert result.ended.reason == "all steps are done; 2 updates were skipped"
    told = [event.text for event in result.of(Notice) if "was skipped" in event.text]
    assert len(told) == 2
    for text in told:
        assert "the loss is nan at step" in text
        assert "7" in text.partition("(samples ")[2].rstrip(")").split(", ")
    assert all(tensor.isfinite().all() for tensor in tensors(state(tmp_path)) if tensor.is_floating_point())
    assert all(event.train_loss is not None for event in result.of(EpochEnded))
    assert result.of(Steps)[-1].step == 12


def test_skip_mode_changes_nothing_without_nonfinite_losses(code: Path, tmp_path: Path) -> None:
    skip = run(tmp_path / "skip", code, "fine")
    stop = run(tmp_path / "stop", code, "fine", nonfinite_loss="stop")
    assert skip.losses == stop.losses
    mine, theirs = state(tmp_path / "skip"), state(tmp_path / "stop")
    assert all(same(mine[part], theirs[part]) for part in ("model", "ema", "optimizer"))


def test_the_default_is_to_stop(code: Path, tmp_path: Path) -> None:
    with pytest.raises(
        NonFiniteLossError, match=r"the loss is nan at step \d+, on .*\(samples .*7.*nonfinite_loss=skip"
    ):
        run(tmp_path, code, "one", nonfinite_loss="stop")


def test_resume_is_exact_before_and_after_a_skip(code: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"optimizer": "adamw", "accumulation_steps": 2, "checkpoint_steps": 2, "keep_last": 50}
    whole = run(tmp_path / "whole", code, "one", **changes)
    expected = {event.step: event.loss for event in whole.of(Steps)}
    assert set(expected) == set(range(2, 13, 2))
    for entry in checkpoint_index.read_index(tmp_path / "whole" / "checkpoints"):
        start = tmp_path / "whole" / "checkpoints" / entry.file
        folder = tmp_path / f"from-{entry.step}"
        again = run(folder, code, "one", **changes | {"num_workers": 0, "resume_from": str(start)})
        assert {event.step: event.loss for event in again.of(Steps)} == {
            step: loss for step, loss in expected.items() if step > entry.step
        }
        mine, theirs = state(folder), state(tmp_path / "whole")
        assert mine["position"] == theirs["position"]
        assert all(same(mine[part], theirs[part]) for part in ("model", "ema", "optimizer"))
        assert again.ended.reason == whole.ended.reason


def test_a_run_that_skips_every_update_ends(code: Path, tmp_path: Path) -> None:
    with pytest.raises(
        NonFiniteLossError, match=rf"{MOST_IN_A_ROW + 1} updates in a row were skipped; the last: the loss is nan"
    ):
        run(tmp_path, code, "most", epochs=9)


def test_skips_in_a_row_are_counted_across_a_resume(code: Path, tmp_path: Path) -> None:
    run(tmp_path, code, "most", epochs=9, stop_at=20)
    assert state(tmp_path)["position"]["skips_in_a_row"] == 20
    with pytest.raises(NonFiniteLossError, match="the loss is nan at step 26,"):
        run(tmp_path, code, "most", epochs=9, resume_from=str(tmp_path))


def test_the_number_of_skip_notices_is_limited() -> None:
    told: list[str] = []
    skips = NonFinitePolicy(lambda _, text: told.append(text), lambda index: f"cat/{index}\x1b.jpg")
    for number in range(1, 1001):
        skips.update([DoneStep(number, float("nan"), np.arange(500))], skipped=True)
        skips.update([], skipped=False)
    assert skips.total == 1000
    assert len(told) == 100 + 3
    assert told[-1].startswith("512 updates were skipped so far; the last: the loss is nan at step 512, on cat/0")
    assert max(map(len, told)) < 400
    assert "\x1b" not in "".join(told)


def test_the_search_for_a_loss_scale_is_not_logged_and_is_limited() -> None:
    skips = NonFinitePolicy(lambda _, text: pytest.fail(text), str, scaled=True)
    step = DoneStep(1, 0.5, np.arange(4))
    for _ in range(MOST_IN_A_ROW):
        skips.update([step], skipped=True)
    assert skips.total == 0
    with pytest.raises(
        NonFiniteLossError, match=r"gradients are NaN or Inf though the loss is finite, on 0, 1, 2 and 1 more"
    ):
        skips.update([step], skipped=True)
