"""Energy and cost of a run, from its totals. Pure."""

from __future__ import annotations

from gputrain.engine.monitor.energy import Energy
from gputrain.tui.state.run_snapshot import Snapshot, Totals


def joules(totals: Totals) -> float | None:
    """Energy of GPUs and CPU packages together, as far as they were measured; None if neither was."""
    return Energy(totals.joules, totals.cpu_joules).total


def per_image(totals: Totals) -> float | None:
    """Joules per image trained on, validation and pauses included; None without a measurement or an image."""
    used = joules(totals)
    return used / totals.images if used is not None and totals.images > 0 else None


def cost(now: Snapshot) -> float | None:
    """The cost so far by the settings ``cost_per_hour`` and ``price_per_kwh``, in their currency; None without them.

    With both it is their sum: rent, and energy.
    """
    settings = now.started.settings if now.started is not None else {}
    hourly, energy = float(settings.get("cost_per_hour", 0.0)), float(settings.get("price_per_kwh", 0.0))
    used = joules(now.totals)
    if not hourly and (not energy or used is None):
        return None
    return hourly * now.elapsed / 3600 + energy * (used or 0.0) / 3.6e6
