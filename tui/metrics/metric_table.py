"""The figures on the screen as a table: what each is, where it comes from, and what is good. Pure.

Panels colour by it, charts take their ranges from it, and the help screen explains from it, so that none can
say anything else.
"""

from __future__ import annotations

from collections.abc import Iterable

from gputrain.tui.metrics.machine_metrics import MACHINE
from gputrain.tui.metrics.metric import Level, Metric
from gputrain.tui.metrics.training_metrics import TRAINING

METRICS: dict[str, Metric] = {metric.key: metric for metric in (*TRAINING, *MACHINE)}
"""All metrics by key, in the order of the help screen."""

_THROTTLE: dict[str, Level] = {
    "power cap": "plain",
    "application clocks": "plain",
    "sync boost": "plain",
    "display clocks": "plain",
    "hardware slowdown": "bad",
    "hardware thermal": "bad",
    "power brake": "bad",
}
_WORST: tuple[Level, ...] = ("bad", "warn", "plain")


def throttle_level(reasons: Iterable[str]) -> Level:
    """How bad it is that the clock is lowered for `reasons`: settings are neutral, heat by software is a warning."""
    return min((_THROTTLE.get(reason, "warn") for reason in reasons), key=_WORST.index, default="plain")


def level(key: str, value: float | None) -> Level:
    """How good `value` is for the metric called `key`."""
    return METRICS[key].level(value)
