"""The cache that a plan offers."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.calibrations import GIB, VALUES, made

from gputrain.engine.estimates.cache_advice import advise_cache
from gputrain.engine.estimates.calibration import CachedCost, StepCost

FAST_STEP = (StepCost(32, 0.004, 0.001, None), StepCost(64, 0.008, 0.002, None))
"""8,000 images per second: data loading is the limit."""


def test_ram_cache_is_offered_if_shared_memory_holds_it() -> None:
    assert advise_cache(made(), VALUES, 16 * GIB, 2 * GIB).startswith("cache=ram")
    assert advise_cache(made(), VALUES, 16 * GIB, GIB).startswith("cache=disk")


def test_cache_offer_names_the_expected_rate() -> None:
    assert advise_cache(made(), VALUES, 16 * GIB) == (
        "cache=ram cache_form=raw: 883 to 1017 img/s from the second epoch on, limited by the training step; "
        "takes 1.6 GiB"
    )


@pytest.mark.parametrize(
    ("changes", "values", "available", "expected"),
    [
        ({}, {}, 2 * GIB, "cache=disk cache_form=raw"),  # 1.6 GiB don't fit into 60 % of 2
        ({"disk_rate": 1e6}, {}, GIB // 2, ""),  # the files do not stay in memory either, and the disk is slow
        ({"steps": FAST_STEP}, {}, 16 * GIB, "cache=ram cache_form=raw"),
        ({"steps": FAST_STEP, "cached": (CachedCost("none", 200, 1e5), CachedCost("jpeg", 300, 1e5))}, {}, 16 * GIB,
         "cache=ram cache_form=jpeg"),
        ({}, {"cache": "disk"}, 16 * GIB, ""),
        ({}, {"epochs": 1}, 16 * GIB, ""),
        ({"cached": ()}, {}, 16 * GIB, ""),
        ({"supply": 2000.0, "together": 900.0}, {}, 16 * GIB, ""),  # the step is the limit
    ],
)  # fmt: skip
def test_cache_offer_depends_on_room_and_limits(
    changes: dict[str, Any], values: dict[str, Any], available: int, expected: str
) -> None:
    found = advise_cache(made(**changes), VALUES | values, available)
    assert found.split(":")[0] == expected
