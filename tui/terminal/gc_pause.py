"""Pauses Python's garbage collector while a screen opens.

The imports and the first layout create some hundred thousand objects that all stay alive. Scanning them repeatedly
takes a tenth of the time to the first paint.
"""

from __future__ import annotations

import gc


def pause_gc() -> None:
    """Disable collection. Call this before the application is imported."""
    gc.disable()


def resume_gc() -> None:
    """Enable collection after the first paint. Does nothing without `pause_gc`."""
    if not gc.isenabled():
        # The objects created so far stay alive: later collections need not scan them.
        gc.freeze()
        gc.enable()
