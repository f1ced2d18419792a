"""Figures in words."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from gputrain.tui.render import format as fmt

Shown = Callable[[float | None], str]


@pytest.mark.parametrize(
    ("show", "value", "expected"),
    [
        (fmt.whole, 12204, "12 204"),
        (fmt.whole, 0, "0"),
        (fmt.whole, 1_281_167, "1 281 167"),
        (fmt.rate, 1184.4, "1 184"),
        (fmt.rate, 99.96, "100"),
        (fmt.rate, 84.12, "84.1"),
        (fmt.rate, 3.71, "3.7"),
        (fmt.rate, 0.423, "0.42"),
        (fmt.byte_rate, 212e6, "212 MB/s"),
        (fmt.byte_rate, 1.1e9, "1.1 GB/s"),
        (fmt.byte_rate, 3.14e6, "3.1 MB/s"),
        (fmt.byte_rate, 0, "0.0 MB/s"),
        (fmt.size, 0, "0 MiB"),
        (fmt.size, 147 * 2**20, "147 MiB"),
        (fmt.size, 19 * 2**30, "19 GiB"),
        (fmt.share, 0.414, "41 %"),
        (fmt.percent, 41.4, "41 %"),
        (fmt.duration, 8040, "2 h 14 min"),
        (fmt.duration, -3, "0 s"),
        (fmt.figure, 0.69314, "0.6931"),
        (fmt.figure, 2.30258, "2.303"),
        (fmt.figure, 12.3456, "12.35"),
        (fmt.figure, 1.234e-5, "1.2e-05"),
        (fmt.figure, 0, "0.0000"),
        (fmt.figure, math.nan, "nan"),
        (fmt.tick, 0.25, "0.25"),
        (fmt.tick, 1500, "1 500"),
        (fmt.byte_tick, 2e7, "20 MB/s"),
        (fmt.share_tick, 0.675, "67.5 %"),
        (fmt.watts, 212.4, "212 W"),
        (fmt.celsius, 71.2, "71 °C"),
        (fmt.energy, 3600 * 1240, "1.24 kWh"),
        (fmt.energy, 3600 * 4.7, "4.7 Wh"),
    ],
)
def test_values_in_words(show: Shown, value: float, expected: str) -> None:
    assert show(value) == expected


@pytest.mark.parametrize(
    "show",
    [
        fmt.whole,
        fmt.rate,
        fmt.byte_rate,
        fmt.size,
        fmt.share,
        fmt.percent,
        fmt.duration,
        fmt.figure,
        fmt.tick,
        fmt.watts,
        fmt.celsius,
        fmt.energy,
    ],
)
def test_what_is_unknown_is_never_a_number(show: Shown) -> None:
    assert show(None) == fmt.MISSING


def test_a_rate_that_is_no_number_is_missing() -> None:
    assert fmt.rate(math.inf) == fmt.whole(math.nan) == fmt.duration(math.inf) == fmt.MISSING


def test_used_of_total_has_the_unit_of_the_total() -> None:
    assert fmt.of_size(7.4 * 2**30, 24 * 2**30) == "7.4/24 GiB"
    assert fmt.of_size(512 * 2**20, 24 * 2**30) == "0.5/24 GiB"
    assert fmt.of_size(100 * 2**20, 512 * 2**20) == "100/512 MiB"
    assert fmt.of_size(100 * 2**20, None) == "100 MiB"
    assert fmt.of_size(None, 2**30) == fmt.MISSING


def test_accuracies_are_percentages_and_errors_are_not() -> None:
    assert fmt.metric("accuracy_top5", 0.9312) == "93.1 %"
    assert fmt.metric("mae_degrees", 4.5678) == "4.568"
