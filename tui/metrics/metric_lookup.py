"""The table of all metrics on the screens. Pure.

Panels take their colors from it, charts their ranges, and the help its texts, so that they always agree.
"""

from __future__ import annotations

from collections.abc import Iterable

from gputrain.tui.metrics.machine_metric_table import MACHINE
from gputrain.tui.metrics.metric import Level, Metric
from gputrain.tui.metrics.training_metric_table import TRAINING

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
    """The level of throttle `reasons`: settings such as a power cap are neutral, all others warnings or worse."""
    return min((_THROTTLE.get(reason, "warn") for reason in reasons), key=_WORST.index, default="plain")


def level(key: str, value: float | None) -> Level:
    """The level of `value` for the metric `key`."""
    return METRICS[key].level(value)
