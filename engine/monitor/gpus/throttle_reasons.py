"""Throttle reasons of a GPU: NVML's bits in words. Pure."""

from __future__ import annotations

_REASONS = {
    0x002: "application clocks",
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "software thermal",
    0x040: "hardware thermal",
    0x080: "power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability",
}
"""nvmlClocksEventReasons (nvml.h); 0x1, idle, is left out, as it is not a throttle reason."""
_HW_SLOWDOWN, _HW_PARTS = 0x008, 0x0C0


def throttle_words(reasons: int) -> tuple[str, ...]:
    """The throttle reasons in words; "hardware slowdown" is left out where a more specific reason is set."""
    if reasons & _HW_PARTS:
        reasons &= ~_HW_SLOWDOWN
    return tuple(words for bit, words in _REASONS.items() if reasons & bit)
