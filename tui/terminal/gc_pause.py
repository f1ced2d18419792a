"""Opening a screen: Python's collector of garbage waits until something is seen.

The imports and the first layout make some hundred thousand objects that all stay; looking through them again and again
takes a tenth of the time until the first paint.
"""

from __future__ import annotations

import gc


def pause_gc() -> None:
    """Call before the application is imported."""
    gc.disable()


def resume_gc() -> None:
    """Call once something is seen; does nothing without `pause_gc`."""
    if not gc.isenabled():
        # What is there now stays: no later collection needs to look at it.
        gc.freeze()
        gc.enable()
