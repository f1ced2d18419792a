"""Mean utilization of one GPU over a block of code."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from gputrain.engine.hardware.nvml import Nvml, NvmlError

_SECONDS = 0.2
"""Seconds between two readings; NVML itself averages over 1/6 to 1 second."""


class MeanUtilization:
    """``with MeanUtilization(0) as utilization: …``, then `utilization.mean`. Reads in a thread, which may hang."""

    def __init__(self, index: int) -> None:
        """`index`: NVML's number of the GPU."""
        self._index = index
        self._readings: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="utilization", daemon=True)

    @property
    def mean(self) -> float | None:
        """Percent; None if the GPU could not be read."""
        readings = list(self._readings)
        return sum(readings) / len(readings) if readings else None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(2 * _SECONDS)

    def _read(self) -> None:
        try:
            nvml = Nvml()
            handle = nvml.must(nvml.api.nvmlDeviceGetHandleByIndex, self._index)
            while not self._stop.wait(_SECONDS):
                rates = nvml.optional(nvml.api.nvmlDeviceGetUtilizationRates, handle)
                if rates is not None:
                    self._readings.append(float(rates.gpu))
            nvml.close()
        except NvmlError:
            return  # the readings so far count
