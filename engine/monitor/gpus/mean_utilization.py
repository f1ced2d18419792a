"""The mean utilization of one GPU while something is done."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from gputrain.engine.hardware.nvml import Nvml, NvmlError

_SECONDS = 0.2
"""Between two readings; NVML itself averages over a sixth of a second to one second."""


class MeanUtilization:
    """``with UtilizationWatch(0) as watch: …``, then `mean`. Reads on a thread of its own, which may hang."""

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
            return  # what was read until then counts
