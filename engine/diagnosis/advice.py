"""What a rule has to say."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from gputrain.engine.diagnosis.signals import Signals

WORKER_SHARE = 0.75
"""Share of the usable cores for workers; the rest is for the trainer (seed 003: 12 of 16)."""


class Advice(Struct, frozen=True):
    """A hint without its rule's name. The title has no figures, so that it changes only with its meaning."""

    severity: Literal["info", "warning", "critical"]
    title: str
    evidence: str
    action: str
    changes: dict[str, Any] = {}


def percent(share: float) -> str:
    """0.234 → ``23 %``."""
    return f"{100 * share:.0f} %"


def most_workers(s: Signals) -> int | None:
    """Workers that leave the trainer its part of the usable cores; None where those are unknown."""
    return None if s.usable_cores is None else max(1, int(WORKER_SHARE * s.usable_cores))
