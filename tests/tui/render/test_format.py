"""Figures in words."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from gputrain.tui.render import format as words

Shown = Callable[[float | None], str]


@pytest.mark.parametrize(
    ("show", "value", "expected"),
    [
        (words.whole, 12204, "12 204"),
        (words.whole, 0, "0"),
        (words.whole, 1_281_167, "1 281 167"),
        (words.rate, 1184.4, "1 184"),
        (words.rate, 99.96, "100"),
        (words.rate, 84.12, "84.1"),
        (words.rate, 3.71, "3.7"),
        (words.rate, 0.423, "0.42"),
        (words.byte_rate, 212e6, "212 MB/s"),
        (words.byte_rate, 1.1e9, "1.1 GB/s"),
        (words.byte_rate, 3.14e6, "3.1 MB/s"),
        (words.byte_rate, 0, "0.0 MB/s"),
        (words.size, 0, "0 MiB"),
        (words.size, 147 * 2**20, "147 MiB"),
        (words.size, 19 * 2**30, "19 GiB"),
        (words.share, 0.414, "41 %"),
        (words.percent, 41.4, "41 %"),
        (words.duration, 8040, "2 h 14 min"),
        (words.duration, -3, "0 s"),
        (words.figure, 0.69314, "0.6931"),
        (words.figure, 2.30258, "2.303"),
        (words.figure, 12.3456, "12.35"),
        (words.figure, 1.234e-5, "1.2e-05"),
        (words.figure, 0, "0.0000"),
        (words.figure, math.nan, "nan"),
        (words.tick, 0.25, "0.25"),
        (words.tick, 1500, "1 500"),
        (words.byte_tick, 2e7, "20 MB/s"),
        (words.share_tick, 0.675, "67.5 %"),
        (words.watts, 212.4, "212 W"),
        (words.celsius, 71.2, "71 °C"),
        (words.energy, 3600 * 1240, "1.24 kWh"),
        (words.energy, 3600 * 4.7, "4.7 Wh"),
    ],
)
def test_values_in_words(show: Shown, value: float, expected: str) -> None:
    assert show(value) == expected


@pytest.mark.parametrize(
    "show",
    [
        words.whole,
        words.rate,
        words.byte_rate,
        words.size,
        words.share,
        words.percent,
        words.duration,
        words.figure,
        words.tick,
        words.watts,
        words.celsius,
        words.energy,
    ],
)
def test_what_is_unknown_is_never_a_number(show: Shown) -> None:
    assert show(None) == words.MISSING


def test_a_rate_that_is_no_number_is_missing() -> None:
    assert words.rate(math.inf) == words.whole(math.nan) == words.duration(math.inf) == words.MISSING


def test_used_of_total_has_the_unit_of_the_total() -> None:
    assert words.of_size(7.4 * 2**30, 24 * 2**30) == "7.4/24 GiB"
    assert words.of_size(512 * 2**20, 24 * 2**30) == "0.5/24 GiB"
    assert words.of_size(100 * 2**20, 512 * 2**20) == "100/512 MiB"
    assert words.of_size(100 * 2**20, None) == "100 MiB"
    assert words.of_size(None, 2**30) == words.MISSING


def test_accuracies_are_percentages_and_errors_are_not() -> None:
    assert words.metric("accuracy_top5", 0.9312) == "93.1 %"
    assert words.metric("mae_degrees", 4.5678) == "4.568"
