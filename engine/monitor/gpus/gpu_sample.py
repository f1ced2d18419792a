"""A sample of one GPU by NVML: utilization, memory, power, temperature, clocks, links, processes."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from gputrain.engine.events import GpuProcess, GpuSample, MigSample
from gputrain.engine.hardware.nvml import Device, Nvml, NvmlError
from gputrain.engine.monitor.gpus.gpm import Gpm, open_gpm
from gputrain.engine.monitor.gpus.throttle_reasons import throttle_words

MOST_PROCESSES = 64
"""Most processes of a GPU in a sample."""

_NVLINK_TX, _NVLINK_RX, _MEMORY_TEMPERATURE = 138, 139, 82
"""Fields of nvmlDeviceGetFieldValues: KiB sent and received over all NVLinks so far, and memory temperature in °C."""
_ALL_LINKS = 0xFFFFFFFF


class GpuReader:
    """Reads one GPU. Call all methods from one thread, which may hang in any of them."""

    def __init__(self, nvml: Nvml, device: Device, cuda_index: dict[str, int]) -> None:
        """`cuda_index`: CUDA's number of each visible GPU, by UUID."""
        self._nvml, self._device, self._cuda_index = nvml, device, cuda_index
        api, handle = nvml.api, device.handle
        self._static = GpuSample(
            index=device.index,
            uuid=device.uuid,
            name=device.name,
            cuda_index=cuda_index.get(device.uuid),
            memory_total=device.memory,
            mig=device.mig_mode,
            temperature_slowdown=nvml.positive(
                api.nvmlDeviceGetTemperatureThreshold, handle, api.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
            ),
            sm_clock_max=nvml.positive(api.nvmlDeviceGetMaxClockInfo, handle, api.NVML_CLOCK_SM),
            memory_clock_max=nvml.positive(api.nvmlDeviceGetMaxClockInfo, handle, api.NVML_CLOCK_MEM),
            pcie_generation_max=nvml.positive(api.nvmlDeviceGetMaxPcieLinkGeneration, handle),
            pcie_width_max=nvml.positive(api.nvmlDeviceGetMaxPcieLinkWidth, handle),
        )
        # A GPU in MIG mode has no counters of its own; its instances have.
        self._gpm = None if device.mig_mode else open_gpm(nvml, handle)
        self._instances = [(one, self._counters_of(one)) for one in device.instances]
        self._answered = False
        self._pcie: dict[str, float] = {}
        self._links: tuple[float, int, int] | None = None

    @property
    def static(self) -> GpuSample:
        """The values that do not change."""
        return self._static

    @property
    def blocks_for_pcie(self) -> bool:
        """Whether reading PCIe traffic blocks for 20 ms and should be done rarely."""
        return self._gpm is None and not self._device.mig_mode

    def read(self, pcie: bool) -> GpuSample:
        """A sample; with `pcie` it measures PCIe traffic anew. Raises NvmlError if the GPU cannot be read."""
        self._nvml.must(self._nvml.api.nvmlDeviceGetUUID, self._device.handle)  # a lost GPU fails here
        if pcie and self.blocks_for_pcie:
            self._pcie = self._measure_pcie()
        vital = {**self._load(), **self._power_and_heat()}
        self._check(vital)
        figures: dict[str, Any] = {
            **vital,
            **self._clocks(),
            **self._errors_and_links(),
            **self._pcie,
            **(self._gpm.read() if self._gpm else {}),
            "processes": self._processes(self._device.handle),
            "instances": tuple(self._instance(one, gpm) for one, gpm in self._instances),
        }
        static = self._static
        fixed = {name: getattr(static, name) for name in static.__struct_fields__ if name not in figures}
        return GpuSample(**fixed, **figures)

    def close(self) -> None:
        """Free NVML's memory."""
        for gpm in (self._gpm, *(gpm for _, gpm in self._instances)):
            with contextlib.suppress(NvmlError):  # NVML is shut down already
                if gpm:
                    gpm.close()

    def _figure(self, call: Any, *arguments: Any) -> Any:
        return self._nvml.optional(call, *arguments)

    def _check(self, vital: dict[str, Any]) -> None:
        """Raise NvmlError if no sensor answers any more: each single failure would look like an absent sensor."""
        answers = any(vital[name] is not None for name in ("utilization", "memory_used", "power", "temperature"))
        if self._answered and not answers:
            raise NvmlError("none of its sensors answers any more", 999)
        self._answered = self._answered or answers

    def _load(self) -> dict[str, Any]:
        api, handle = self._nvml.api, self._device.handle
        # In MIG mode some drivers report 0 for the whole GPU, which would look idle.
        rates = None if self._device.mig_mode else self._figure(api.nvmlDeviceGetUtilizationRates, handle)
        encoder = self._figure(api.nvmlDeviceGetEncoderUtilization, handle)
        decoder = self._figure(api.nvmlDeviceGetDecoderUtilization, handle)
        return {
            "utilization": float(rates.gpu) if rates else None,
            "memory_utilization": float(rates.memory) if rates else None,
            "memory_used": self._memory_used(handle),
            "encoder": float(encoder[0]) if encoder else None,
            "decoder": float(decoder[0]) if decoder else None,
        }

    def _memory_used(self, handle: Any) -> int | None:
        api = self._nvml.api
        # Version 2 excludes memory reserved by the driver, as nvidia-smi does.
        memory = self._figure(api.nvmlDeviceGetMemoryInfo, handle, api.nvmlMemory_v2)
        memory = memory or self._figure(api.nvmlDeviceGetMemoryInfo, handle)
        return int(memory.used) if memory and memory.total else None

    def _power_and_heat(self) -> dict[str, Any]:
        api, handle = self._nvml.api, self._device.handle
        power = self._figure(api.nvmlDeviceGetPowerUsage, handle)
        energy = self._figure(api.nvmlDeviceGetTotalEnergyConsumption, handle)
        limit = self._nvml.positive(api.nvmlDeviceGetEnforcedPowerLimit, handle)
        heat = self._figure(api.nvmlDeviceGetTemperature, handle, api.NVML_TEMPERATURE_GPU)
        fan = self._figure(api.nvmlDeviceGetFanSpeed, handle)
        return {
            "power": power / 1000 if power is not None else None,
            "energy": energy / 1000 if energy is not None else None,
            "power_limit": limit / 1000 if limit is not None else None,
            "temperature": float(heat) if heat is not None else None,
            "fan": float(fan) if fan is not None else None,
        }

    def _clocks(self) -> dict[str, Any]:
        api, handle = self._nvml.api, self._device.handle
        reasons = self._figure(api.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
        return {
            "sm_clock": self._figure(api.nvmlDeviceGetClockInfo, handle, api.NVML_CLOCK_SM),
            "memory_clock": self._figure(api.nvmlDeviceGetClockInfo, handle, api.NVML_CLOCK_MEM),
            "throttle": throttle_words(reasons or 0),
            "pcie_generation": self._nvml.positive(api.nvmlDeviceGetCurrPcieLinkGeneration, handle),
            "pcie_width": self._nvml.positive(api.nvmlDeviceGetCurrPcieLinkWidth, handle),
        }

    def _errors_and_links(self) -> dict[str, Any]:
        api, handle = self._nvml.api, self._device.handle
        volatile = api.NVML_VOLATILE_ECC
        corrected = self._figure(
            api.nvmlDeviceGetTotalEccErrors, handle, api.NVML_MEMORY_ERROR_TYPE_CORRECTED, volatile
        )
        uncorrected = self._figure(
            api.nvmlDeviceGetTotalEccErrors, handle, api.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, volatile
        )
        wanted = [(_NVLINK_TX, _ALL_LINKS), (_NVLINK_RX, _ALL_LINKS), (_MEMORY_TEMPERATURE, 0)]
        fields = self._figure(api.nvmlDeviceGetFieldValues, handle, wanted) or ()
        tx, rx, heat = [_field(api, value) for value in fields] or (None, None, None)
        return {
            "ecc_corrected": corrected,
            "ecc_uncorrected": uncorrected,
            "memory_temperature": float(heat) if heat else None,
            **self._link_rates(tx, rx),
        }

    def _link_rates(self, tx: int | None, rx: int | None) -> dict[str, float]:
        """Bytes per second over all NVLinks, from the counters in KiB."""
        before, now = self._links, time.monotonic()
        self._links = None if tx is None or rx is None else (now, tx, rx)
        if before is None or tx is None or rx is None or tx < before[1] or rx < before[2]:
            return {}  # no links, the first reading, or counters that restarted
        seconds = now - before[0]
        return {
            "nvlink_tx": round((tx - before[1]) * 1024 / seconds),
            "nvlink_rx": round((rx - before[2]) * 1024 / seconds),
        }

    def _measure_pcie(self) -> dict[str, float]:
        api, handle = self._nvml.api, self._device.handle
        tx = self._figure(api.nvmlDeviceGetPcieThroughput, handle, api.NVML_PCIE_UTIL_TX_BYTES)
        rx = self._figure(api.nvmlDeviceGetPcieThroughput, handle, api.NVML_PCIE_UTIL_RX_BYTES)
        # In KB/s, over the 20 ms of the call.
        return {name: value * 1000.0 for name, value in (("pcie_tx", tx), ("pcie_rx", rx)) if value is not None}

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...]:
        """Pids and memory of the GPU's processes; the sampler adds names and owners."""
        api = self._nvml.api
        found: dict[int, int | None] = {}
        for call in (api.nvmlDeviceGetComputeRunningProcesses, api.nvmlDeviceGetGraphicsRunningProcesses):
            for process in self._figure(call, handle) or ():
                found[process.pid] = _larger(found.get(process.pid), process.usedGpuMemory)
        largest = sorted(found.items(), key=lambda item: -(item[1] or 0))
        return tuple(GpuProcess(pid=pid, memory=memory) for pid, memory in largest[:MOST_PROCESSES])

    def _counters_of(self, instance: Device) -> Gpm | None:
        if instance.gpu_instance is None:
            return None
        return open_gpm(self._nvml, self._device.handle, instance.gpu_instance)

    def _instance(self, device: Device, gpm: Gpm | None) -> MigSample:
        return MigSample(
            name=device.name,
            uuid=device.uuid,
            gpu_instance=device.gpu_instance,
            compute_instance=device.compute_instance,
            cuda_index=self._cuda_index.get(device.uuid),
            memory_used=self._memory_used(device.handle),
            memory_total=device.memory,
            processes=self._processes(device.handle),
            **(gpm.read() if gpm else {}),
        )


def _field(api: Any, value: Any) -> int | None:
    """A field's value, read by its type (nvmlValueType_t); None where it could not be read."""
    if value.nvmlReturn != api.NVML_SUCCESS:
        return None
    names = {
        api.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
        api.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
        api.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
        api.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    }
    name = names.get(value.valueType)
    return int(getattr(value.value, name)) if name else None


def _larger(first: int | None, second: int | None) -> int | None:
    return max((one for one in (first, second) if one is not None), default=None)
