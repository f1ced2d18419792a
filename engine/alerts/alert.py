"""An alert: what happened to which run, as one JSON object."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

Kind = Literal[
    "finished",
    "stopped",
    "failed",
    "died",
    "preempted",
    "stalled",
    "recovered",
    "nonfinite_loss",
    "slow",
    "gpu_lost",
    "gpu_throttled",
    "disk_full",
    "test",
]
KINDS: tuple[str, ...] = tuple(kind for kind in get_args(Kind) if kind != "test")
"""What the setting `kinds` may name."""
ENDS = frozenset(("finished", "stopped", "failed", "died", "preempted"))
"""Kinds that come once, at the end of a run; no rate limit holds them back."""
_BAD = frozenset(("failed", "died", "nonfinite_loss", "gpu_lost", "disk_full"))


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert. A command gets it as JSON on its standard input."""

    kind: Kind
    """What happened."""
    title: str
    """One line: the run and what happened."""
    text: str
    """The cause with its figures, and the remedy where one is known."""
    run: str
    """Id of the run; empty for a test."""
    name: str = ""
    """The user's name of the run."""
    host: str = ""
    """Host that trains."""
    time: float = 0.0
    """Unix time in seconds."""
    step: int | None = None
    """Steps done."""
    epoch: int | None = None
    """Epoch, from 1."""
    images_per_second: float | None = None
    """The newest rate."""
    loss: float | None = None
    """The newest loss."""
    exit_code: int | None = None
    """Exit code of the trainer or script, at the end of a run."""

    @property
    def is_bad(self) -> bool:
        """Whether something is lost or about to be; other alerts are news or warnings."""
        return self.kind in _BAD
