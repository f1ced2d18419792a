"""Computes throughput and time shares of the newest steps. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gputrain.engine.events import Steps
from gputrain.tui.state.run_snapshot import Shares


def rate_of(windows: Sequence[Steps]) -> tuple[float | None, Shares | None]:
    """Images per second and time shares; None without windows."""
    seconds = sum(window.window_seconds for window in windows)
    if seconds <= 0:
        return None, None
    images = sum(window.images_per_second * window.window_seconds for window in windows)
    if any(window.wait_unknown for window in windows):
        # Samples that were not counted are unknown, not none.
        return images / seconds or None, None
    copies = [window.copy for window in windows if window.copy is not None]
    exchanges = [window.exchange for window in windows if window.exchange is not None]
    parts = [
        sum(window.data_wait for window in windows),
        sum(copies),
        sum(window.compute for window in windows),
        sum(exchanges),
        sum(window.other for window in windows),
    ]
    # On a GPU copies overlap compute, so the parts may sum to more than the elapsed time.
    whole = max(seconds, sum(parts)) or 1.0
    wait, copy, compute, exchange = (part / whole for part in parts[:4])
    rest = 1 - wait - copy - compute - exchange
    return images / seconds, Shares(wait, copy if copies else None, compute, rest, exchange if exchanges else None)
