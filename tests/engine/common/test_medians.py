"""The medians are those of Python's statistics."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.common.medians import median, median_low


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=9))
def test_as_statistics(values: list[float]) -> None:
    assert median(values) == statistics.median(values)
    assert median_low(iter(values)) == statistics.median_low(values)


def test_no_values() -> None:
    with pytest.raises(IndexError):
        median([])
    with pytest.raises(IndexError):
        median_low([])
