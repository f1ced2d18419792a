"""The time of the gradient all-reduce, and how much of it the backward pass hides."""

from __future__ import annotations

import pytest

from gputrain.engine.common.units import MIB
from gputrain.engine.estimates.all_reduce import BUCKET, Link, buckets, exchange, ring_seconds

ONE_GB = Link(1e9, 0.0)


@pytest.mark.parametrize(("ranks", "factor"), [(1, 0.0), (2, 1.0), (4, 1.5), (8, 1.75)])
def test_a_ring_sends_twice_all_but_one_share(ranks: int, factor: float) -> None:
    assert ring_seconds(1e9, ranks, ONE_GB) == pytest.approx(factor)


def test_latency_grows_with_the_steps_of_the_ring() -> None:
    assert ring_seconds(0, 8, Link(1e9, 1e-3)) == pytest.approx(14e-3)


def test_gradients_are_sent_in_buckets() -> None:
    assert buckets(100 * MIB) == [MIB, BUCKET, BUCKET, BUCKET, 24 * MIB]
    assert sum(buckets(102_228_128)) == 102_228_128
    assert buckets(MIB // 2) == [MIB // 2]
    assert buckets(25 * MIB, 10 * MIB) == [10 * MIB, 10 * MIB, 5 * MIB]


def test_without_a_backward_pass_nothing_is_hidden() -> None:
    found = exchange(buckets(100 * MIB), 4, ONE_GB, backward=0.0)
    assert found.exposed == pytest.approx(found.seconds)
    assert found.overlap == pytest.approx(0.0)


def test_a_long_backward_pass_hides_all_but_the_last_bucket() -> None:
    sizes = buckets(100 * MIB)
    found = exchange(sizes, 4, ONE_GB, backward=60.0)
    assert found.exposed == pytest.approx(ring_seconds(sizes[-1], 4, ONE_GB))


def test_a_slow_link_is_busy_until_all_is_sent() -> None:
    sizes = buckets(100 * MIB)
    slow = Link(1e7, 0.0)
    found = exchange(sizes, 4, slow, backward=0.5)
    first_ready = 0.5 * sizes[0] / sum(sizes)
    assert found.exposed == pytest.approx(first_ready + found.seconds - 0.5)


def test_half_the_bytes_take_half_the_time() -> None:
    sizes = buckets(100 * MIB)
    assert exchange(sizes, 4, ONE_GB, 0.0, sent=0.5).seconds == pytest.approx(
        exchange(sizes, 4, ONE_GB, 0.0).seconds / 2
    )
