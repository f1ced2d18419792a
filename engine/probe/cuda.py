"""The device's clock: two CUDA events around the work of some steps, from the delivery of a batch to the update.

No step waits for the device: an event is only asked whether it has happened.
"""

from __future__ import annotations

import sys
from typing import Any

from . import layout
from .page import Page, Probe
from .steps import clock

_MEMORY_SECONDS = 1.0
_PENDING = 8
"""Measurements that the device may be behind with."""


class CudaClock:
    """Called some times a second."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._open: Any | None = None
        """The event when the batch of the step that is measured was there."""
        self._pending: list[tuple[Any, Any, float]] = []
        self._looked = 0.0

    def reset(self) -> None:
        """A forked child begins anew."""
        self._open, self._pending = None, []

    def fetched(self, now: float) -> None:
        """A batch to train on is there: begin a measurement if one is due."""
        if self._open is not None or "cuda" in self._probe.off:
            return
        try:
            torch = sys.modules["torch"]
            if torch.cuda.is_initialized() and len(self._pending) < _PENDING:
                self._open = torch.cuda.Event(enable_timing=True)
                self._open.record()
        except Exception as error:  # noqa: BLE001 - the script comes first
            self._probe.failed("cuda", error)

    def updated(self, page: Page, seconds: float) -> None:
        """End a measurement, and read those that the device has passed."""
        if "cuda" in self._probe.off:
            return
        try:
            self._measure(page, seconds, clock())
        except Exception as error:  # noqa: BLE001 - the script comes first
            self._probe.failed("cuda", error)

    def _measure(self, page: Page, seconds: float, now: float) -> None:
        torch = sys.modules.get("torch")
        # Keras trains without torch, too.
        if torch is None or not torch.cuda.is_initialized():
            return
        slots = page.slots
        slots[layout.ON_CUDA] = 1.0
        if self._open is not None:
            end = torch.cuda.Event(enable_timing=True)
            end.record()
            self._pending.append((self._open, end, seconds))
            self._open = None
        while self._pending and self._pending[0][1].query():
            begun, ended, host = self._pending.pop(0)
            slots[layout.DEVICE_SECONDS] += begun.elapsed_time(ended) / 1000
            slots[layout.DEVICE_HOST_SECONDS] += host
            slots[layout.DEVICE_STEPS] += 1
        if now - self._looked > _MEMORY_SECONDS:
            self._looked = now
            slots[layout.VRAM_ALLOCATED] = torch.cuda.memory_allocated()
            slots[layout.VRAM_RESERVED] = torch.cuda.memory_reserved()
            slots[layout.VRAM_PEAK] = torch.cuda.max_memory_allocated()
            slots[layout.ALLOC_RETRIES] = torch.cuda.memory_stats().get("num_alloc_retries", 0)
