"""How many data workers the usable cores allow. Pure."""

from __future__ import annotations

WORKER_SHARE = 0.75
"""Share of the usable cores for data workers; the rest is for the trainer (the A10G guide: 12 of 16)."""


def worker_limit(usable_cores: float, share: float = WORKER_SHARE) -> int:
    """Number of workers that take `share` of the usable cores, at least 1."""
    return max(1, int(share * usable_cores))
