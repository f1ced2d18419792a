"""GPM (GPU performance monitoring, Hopper and newer): activity of multiprocessors, tensor cores and memory.

NVML computes shares and rates from two readings of the counters (nvmlGpmMetricsGet in nvml.h).
"""

from __future__ import annotations

from typing import Any

from gputrain.engine.common.units import MIB
from gputrain.engine.hardware.nvml import Nvml

_SHARES = {2: "sm_activity", 3: "sm_occupancy", 5: "tensor_activity", 10: "dram_activity"}
"""Metric → field; in percent."""
_RATES = {20: "pcie_tx", 21: "pcie_rx", 60: "nvlink_rx", 61: "nvlink_tx"}
"""Metric → field; in MiB/s."""


class Gpm:
    """The counters of one GPU, or of one MIG instance, which has no PCIe and NVLink rates."""

    def __init__(self, nvml: Nvml, handle: Any, instance: int | None = None) -> None:
        """`instance`: the GPU instance's id; `handle` is then its parent's."""
        self._nvml = nvml
        self._handle = handle
        self._instance = instance
        api = nvml.api
        self._samples = [api.nvmlGpmSampleAlloc(), api.nvmlGpmSampleAlloc()]
        self._taken = False
        self._wanted = api.c_nvmlGpmMetricsGet_t()
        self._wanted.version = api.NVML_GPM_METRICS_GET_VERSION
        self._ids = [*_SHARES, *(_RATES if instance is None else ())]
        self._wanted.numMetrics = len(self._ids)
        for number, metric in enumerate(self._ids):
            self._wanted.metrics[number].metricId = metric

    def read(self) -> dict[str, float]:
        """Means since the last call, by field; empty the first time. Raises NvmlError if the GPU cannot be read."""
        api, nvml = self._nvml.api, self._nvml
        before, now = self._samples
        if self._take(now) is None:
            self._taken = False
            return {}
        self._samples.reverse()
        if not self._taken:
            self._taken = True
            return {}
        self._wanted.sample1, self._wanted.sample2 = before, now
        if nvml.optional(api.nvmlGpmMetricsGet, self._wanted) is None:
            return {}
        found = {}
        for number, metric in enumerate(self._ids):
            answer = self._wanted.metrics[number]
            if answer.nvmlReturn == api.NVML_SUCCESS:
                scale = 0.01 if metric in _SHARES else MIB
                found[(_SHARES | _RATES)[metric]] = round(answer.value * scale, 4 if metric in _SHARES else 0)
        return found

    def _take(self, into: Any) -> Any:
        api, nvml = self._nvml.api, self._nvml
        if self._instance is None:
            return nvml.optional(api.nvmlGpmSampleGet, self._handle, into)
        return nvml.optional(api.nvmlGpmMigSampleGet, self._handle, self._instance, into)

    def close(self) -> None:
        """Free the samples. Raises NvmlError if NVML is shut down already."""
        for sample in self._samples:
            self._nvml.must(self._nvml.api.nvmlGpmSampleFree, sample)


def open_gpm(nvml: Nvml, handle: Any, instance: int | None = None) -> Gpm | None:
    """The counters of a GPU or of one of its instances; None where it has none."""
    support = nvml.optional(nvml.api.nvmlGpmQueryDeviceSupport, handle)
    return Gpm(nvml, handle, instance) if support is not None and support.isSupportedDevice else None
