from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.dataloading import batch_sampler

SEEDS = st.integers(0, 2**63 - 1)
FIRST = [8, 7, 4, 2, 6, 5, 9, 0, 1, 3]
SECOND = [0, 1, 5, 4, 6, 9, 2, 8, 3, 7]


@given(seed=SEEDS, epoch=st.integers(0, 10**6), count=st.integers(0, 300))
def test_an_epoch_is_a_permutation(seed: int, epoch: int, count: int) -> None:
    assert sorted(batch_sampler.permutation(seed, epoch, count).tolist()) == list(range(count))


def test_the_permutation_is_stable_across_versions() -> None:
    # Written down, since a run that is resumed under another version of numpy must find the same order.
    assert batch_sampler.permutation(0, 0, 10).tolist() == FIRST
    assert batch_sampler.permutation(0, 1, 10).tolist() == SECOND


def test_seeds_and_epochs_give_different_orders() -> None:
    orders = {tuple(batch_sampler.permutation(seed, epoch, 50).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_every_position_is_equally_likely() -> None:
    places = np.array([batch_sampler.permutation(3, epoch, 8) for epoch in range(4000)])
    counts = np.stack([np.bincount(places[:, place], minlength=8) for place in range(8)])
    # Chi-squared of 8×8 cells with 49 degrees of freedom: 85.4 is its 99.9 % quantile.
    assert ((counts - 500) ** 2 / 500).sum() < 85.4


@given(count=st.integers(1, 200), batch_size=st.integers(1, 60), drop_last=st.booleans())
def test_batches_cover_the_order(count: int, batch_size: int, drop_last: bool) -> None:
    batches = batch_sampler.batches(count, batch_size, seed=1, epoch=2, shuffle=True, drop_last=drop_last)
    parts = [batches.indices(number) for number in range(len(batches))]
    joined = np.concatenate(parts) if parts else np.array([], dtype=np.int64)
    expected = batch_sampler.permutation(1, 2, count)
    assert joined.tolist() == expected[: len(joined)].tolist()
    assert len(joined) == (count - count % batch_size if drop_last else count)
    assert all(len(part) == batch_size for part in parts[:-1])


def test_validation_is_in_order() -> None:
    batches = batch_sampler.batches(5, 2, seed=9, epoch=4, shuffle=False, drop_last=False)
    assert [batches.indices(number).tolist() for number in range(3)] == [[0, 1], [2, 3], [4]]


def test_a_batch_number_out_of_range_raises() -> None:
    batches = batch_sampler.batches(5, 2, seed=0, epoch=0, shuffle=False, drop_last=True)
    with pytest.raises(IndexError, match="batch 2 of 2"):
        batches.indices(2)
