"""Histories have bounded size, and their content does not depend on batching."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputrain.tui.charts.bucket_arrays import Bucket
from gputrain.tui.charts.value_history import CAPACITY, RECENT, Curve, DownsampledHistory, History

Values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=600)


@given(Values)
def test_the_whole_run_keeps_count_extremes_and_mean(values: list[float]) -> None:
    history = History(capacity=8, recent=4)
    for x, y in enumerate(values):
        history.add(float(x), y)
    whole = history.curve().whole
    assert len(whole) <= 8
    assert sum(bucket.points for bucket in whole) == len(values)
    assert min(bucket.low for bucket in whole) == min(values)
    assert max(bucket.high for bucket in whole) == max(values)
    mean = sum(bucket.mean * bucket.points for bucket in whole) / len(values)
    assert mean == pytest.approx(sum(values) / len(values), abs=1e-3)
    assert whole[0].first == 0
    assert whole[-1].last == len(values) - 1
    assert all(before.last < after.first for before, after in pairwise(whole))


@given(Values, st.lists(st.integers(0, 600), max_size=5))
def test_looking_at_a_history_does_not_change_it(values: list[float], looks: list[int]) -> None:
    seen, unseen = History(capacity=8), History(capacity=8)
    for x, y in enumerate(values):
        seen.add(float(x), y)
        unseen.add(float(x), y)
        if x in looks:
            seen.curve()
    assert seen.curve() == unseen.curve()


def test_memory_is_bounded_after_very_many_points() -> None:
    history = History()
    for x in range(200_000):
        history.add(float(x), 1.0)
    curve = history.curve()
    assert CAPACITY // 2 <= len(curve.whole) <= CAPACITY
    assert len(curve.recent) == RECENT


def test_the_same_curve_is_handed_out_until_a_point_comes() -> None:
    history = History()
    history.add(0, 1)
    first = history.curve()
    assert history.curve() is first
    history.add(1, 2)
    assert history.curve() is not first


def test_the_recent_past_is_as_it_came_and_the_far_past_is_coarse() -> None:
    history = History(capacity=4, recent=3)
    for x in range(16):
        history.add(float(x), float(x))
    curve = history.curve()
    assert curve.since(13) == (
        Bucket(13, 13, 13, 13, 13, 1),
        Bucket(14, 14, 14, 14, 14, 1),
        Bucket(15, 15, 15, 15, 15, 1),
    )
    assert [bucket.points for bucket in curve.since(0)] == [4, 4, 4, 4]


def test_of_an_empty_curve_nothing_is_known() -> None:
    assert Curve().since(0) == ()


def test_a_mean_can_bring_its_extremes() -> None:
    history = History(capacity=2)
    for x in range(4):
        history.add(float(x), 50.0, (50.0 - x, 60.0))
    assert history.curve().whole == (Bucket(0, 1, 49, 50, 60, 2), Bucket(2, 3, 47, 50, 60, 2))


def test_thinning_keeps_one_weighted_mean_a_step() -> None:
    thinned = DownsampledHistory(step=1.0)
    for x, y, weight in ((0.0, 10.0, 1.0), (0.4, 20.0, 1.0), (0.8, 30.0, 1.0), (1.0, 50.0, 2.0), (1.5, 9.0, 1.0)):
        thinned.add(x, y, weight)
    # The first point stands alone; the next three make (20 + 30 + 2 × 50) / 4; the last one waits for its step.
    assert thinned.curve().recent == (Bucket(0, 0, 10, 10, 10, 1), Bucket(1, 1, 20, 37.5, 50, 1))


def test_thinning_ignores_what_stands_for_no_time() -> None:
    thinned = DownsampledHistory()
    thinned.add(0.0, 5.0, weight=0.0)
    assert thinned.curve() == Curve()
