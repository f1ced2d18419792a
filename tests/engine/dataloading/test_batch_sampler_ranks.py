from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.dataloading import batch_sampler
from gputrain.engine.training.tasks.classification import ClassScores
from gputrain.engine.training.tasks.clip_classification import ClipScores
from gputrain.engine.training.tasks.head_pose import AngleErrors
from gputrain.engine.training.tasks.regression import RegressionErrors
from gputrain.engine.training.tasks.task import Scores

RANKS = st.integers(1, 5)


@given(count=st.integers(1, 200), batch_size=st.integers(1, 40), ranks=RANKS)
def test_a_step_of_all_ranks_has_the_samples_of_as_many_steps_of_one(count: int, batch_size: int, ranks: int) -> None:
    dealt = [
        batch_sampler.batches(count, batch_size, seed=1, epoch=2, shuffle=True, drop_last=True, rank=rank, ranks=ranks)
        for rank in range(ranks)
    ]
    one = batch_sampler.batches(count, batch_size, seed=1, epoch=2, shuffle=True, drop_last=True)
    steps = batch_sampler.batch_count(count, batch_size, drop_last=True, ranks=ranks)
    assert sum(map(len, dealt)) == len(one), "no batch is dropped"
    assert {steps - len(batches) for batches in dealt} <= {0, 1}, "only the last step may lack batches"
    for number in range(len(one)):
        step, rank = divmod(number, ranks)
        assert dealt[rank].indices(step).tolist() == one.indices(number).tolist()


@given(count=st.integers(8, 200), batch_size=st.integers(1, 8))
def test_updates_have_the_same_samples_for_every_division(count: int, batch_size: int) -> None:
    """Four batches per update, on 1, 2 and 4 ranks."""

    def updates(ranks: int) -> list[list[int]]:
        dealt = [
            batch_sampler.batches(count, batch_size, seed=1, epoch=0, shuffle=True, drop_last=True, rank=r, ranks=ranks)
            for r in range(ranks)
        ]
        found: list[list[int]] = []
        for first in range(0, len(dealt[0]), 4 // ranks):
            steps = range(first, min(first + 4 // ranks, len(dealt[0])))
            held = [batches.indices(step) for step in steps for batches in dealt if step < len(batches)]
            found.append(np.concatenate(held).tolist())
        return found

    assert updates(1) == updates(2) == updates(4)


@given(count=st.integers(1, 200), batch_size=st.integers(1, 40), ranks=RANKS)
def test_in_validation_each_sample_belongs_to_one_rank(count: int, batch_size: int, ranks: int) -> None:
    seen: list[int] = []
    for rank in range(ranks):
        dealt = batch_sampler.batches(
            count, batch_size, seed=1, epoch=2, shuffle=False, drop_last=False, rank=rank, ranks=ranks
        )
        for number in range(len(dealt)):
            seen += dealt.indices(number).tolist()
    assert sorted(seen) == list(range(count))


@given(batch_size=st.integers(1, 100), count=st.integers(1, 100), ranks=RANKS)
def test_few_samples_make_smaller_batches_of_which_each_rank_has_one(batch_size: int, count: int, ranks: int) -> None:
    size = batch_sampler.batch_size_that_fits(batch_size, count, ranks)
    assert 1 <= size <= batch_size
    if count >= ranks:
        assert batch_sampler.batch_count(count, size, drop_last=True, ranks=ranks) >= 1


def test_sums_of_ranks_give_the_metrics_of_one_process() -> None:
    torch.manual_seed(0)
    classes, two = torch.randn(40, 8), torch.randn(40, 2)
    numbers = torch.randn(40, 3)
    cases: list[tuple[Callable[[], Scores], torch.Tensor, torch.Tensor]] = [
        (ClassScores, classes, torch.randint(0, 8, (40,))),
        (ClipScores, two, torch.arange(40) % 2),
        (RegressionErrors, numbers, torch.randn(40, 3)),
        (AngleErrors, numbers, torch.randn(40, 3)),
    ]
    for kind, outputs, targets in cases:
        alone, merged = kind(), kind()
        alone.add(outputs, targets)
        # The third rank has had no batch.
        for part in (slice(0, 25), slice(25, 40), slice(40, 40)):
            of_rank = kind()
            if part.start < 40:
                of_rank.add(outputs[part], targets[part])
            merged.merge(of_rank.state())
        theirs, ours = merged.metrics(), alone.metrics()
        assert theirs.keys() == ours.keys()
        for name, value in ours.items():
            assert abs(theirs[name] - value) < 1e-6, (kind, name)
