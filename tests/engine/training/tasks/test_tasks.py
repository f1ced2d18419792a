"""Tasks: losses, metrics, and which value is better."""

from __future__ import annotations

import pytest
import torch

from gputrain.engine.training.tasks.classification import Classification
from gputrain.engine.training.tasks.clip_classification import ClipClassification
from gputrain.engine.training.tasks.head_pose import HeadPose
from gputrain.engine.training.tasks.regression import Regression
from gputrain.engine.training.tasks.task import Scores, Task, is_better
from gputrain.tui.render.format import higher_is_better


def scored(scores: Scores, outputs: torch.Tensor, targets: torch.Tensor, parts: int) -> dict[str, float]:
    for some, wanted in zip(outputs.chunk(parts), targets.chunk(parts), strict=True):
        scores.add(some, wanted)
    return scores.metrics()


@pytest.mark.parametrize("classes", [3, 9])
@pytest.mark.parametrize("parts", [1, 3])
def test_accuracies_and_loss_are_counted_over_all_parts(classes: int, parts: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    outputs = torch.randn(21, classes, generator=generator)
    targets = torch.randint(0, classes, (21,), generator=generator)
    found = scored(Classification(classes).scores(), outputs, targets, parts)
    ranks = [sorted(range(classes), key=lambda c: -row[c]).index(wanted) for row, wanted in _rows(outputs, targets)]
    logs = [torch.tensor(row).log_softmax(0)[wanted].item() for row, wanted in _rows(outputs, targets)]
    assert found["accuracy"] == sum(rank == 0 for rank in ranks) / 21
    assert found["loss"] == pytest.approx(-sum(logs) / 21, rel=1e-5)
    if classes > 5:
        assert found["accuracy_top5"] == pytest.approx(sum(rank < 5 for rank in ranks) / 21)
    else:
        assert "accuracy_top5" not in found


def _rows(outputs: torch.Tensor, targets: torch.Tensor) -> list[tuple[list[float], int]]:
    return list(zip(outputs.tolist(), targets.tolist(), strict=True))


def test_label_smoothing_applies_only_to_the_training_loss() -> None:
    outputs, targets = torch.tensor([[4.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 1])
    smooth, sharp = Classification(2, 0.2), Classification(2)
    assert smooth.loss(outputs, targets) > sharp.loss(outputs, targets)
    assert scored(smooth.scores(), outputs, targets, 1) == scored(sharp.scores(), outputs, targets, 1)


def test_the_first_value_is_best_and_an_equal_one_is_not_better() -> None:
    task: Task = Classification(2)
    assert is_better(task, 0.0, None)
    assert is_better(task, 0.6, 0.5)
    assert not is_better(task, 0.5, 0.5)


@pytest.mark.parametrize("task", [Classification, ClipClassification, HeadPose, Regression])
def test_run_lists_sort_a_metric_in_the_direction_of_its_task(task: type[Task]) -> None:
    assert higher_is_better(task.metric) == task.higher_is_better
