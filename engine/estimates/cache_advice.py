"""Cache advice: which image cache would speed up a run most, from its calibration. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputrain.engine.common.units import size
from gputrain.engine.estimates import cache_speedup
from gputrain.engine.estimates.calibration import Calibration
from gputrain.engine.estimates.host_memory import cache_room
from gputrain.engine.estimates.throughput_forecast import forecast
from gputrain.engine.events.speed_forecast import LIMITERS

_WORTH = 1.1
"""Least speedup that is offered; a smaller one is within the error of the forecast."""
_CANDIDATES = (("ram", "raw"), ("disk", "raw"), ("ram", "jpeg"), ("disk", "jpeg"))
"""Place and form, in order of preference among candidates of similar speed. JPEG tiles keep full resolution in less
space."""
_ALIKE = 0.95


def advise_cache(made: Calibration, values: Mapping[str, Any], ram_available: int, shm_free: int | None = None) -> str:
    """The cache settings that make the run fastest, with the expected rate; empty if none gains 10 %.

    Only for runs without a cache and with more than one epoch. A cache in memory is offered if all images fit.
    """
    if values["cache"] != "none" or values["epochs"] < 2 or not made.cached:
        return ""
    now = forecast(made, values, memory=None, ram_available=ram_available, shm_free=shm_free)
    found: list[tuple[float, str]] = []
    for place, form in _CANDIDATES:
        cost = cache_speedup.cost_of(made, form)
        if cost is None:
            continue
        room = cost.bytes_per_image * (made.train_images + made.val_images)
        if place == "ram" and room > cache_room(ram_available, shm_free):
            continue
        asked = {**values, "cache": place, "cache_form": form, "cache_gib": 0.0}
        then = forecast(made, asked, memory=None, ram_available=ram_available, shm_free=shm_free)
        text = (
            f"cache={place} cache_form={form}: {then.low:.0f} to {then.high:.0f} img/s from the second epoch on, "
            f"limited by {LIMITERS[then.limiter]}; takes {size(room)}"
        )
        found.append((then.rate, text))
    best = max((rate for rate, _ in found), default=0.0)
    if best < _WORTH * now.rate:
        return ""
    return next(text for rate, text in found if rate >= _ALIKE * best)
