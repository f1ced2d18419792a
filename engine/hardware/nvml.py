"""NVML through nvidia-ml-py: initialization, error messages, and the properties of each GPU.

With a driver in trouble any call may take seconds or never return. Call it only in a thread that nothing waits for
without a timeout, as `monitor.gpus.gpu_threads` and `hardware.machine` do.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from gputrain.engine.common.sanitize import plain

LIBRARY = "libnvidia-ml.so.1"
NO_DRIVER = "no NVIDIA driver"
"""The reason where the library is not installed."""

_UNKNOWN = 999
_FATAL = frozenset({1, 9, 15, 16})
"""Return codes after which the GPU cannot be read at all; any other concerns one value only."""
_IN_WORDS = {
    1: "NVML was shut down",
    4: "no permission to read it",
    8: "its power cables are not attached properly",
    9: "the NVIDIA driver is not loaded",
    12: NO_DRIVER,
    15: "lost: it has fallen off the bus; reset it or reboot",
    16: "it needs a reset",
    18: "the NVIDIA driver and its library have different versions; reboot",
    20: "out of memory in the driver",
    _UNKNOWN: "the driver reports an unknown error",
}
"""Messages for return codes of ``nvmlReturn_t`` (nvml.h)."""


class NvmlError(Exception):
    """NVML, or one GPU, cannot be read; the message is for the user."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Device(Struct, frozen=True, kw_only=True):
    """The constant properties of a GPU or a MIG instance."""

    handle: Any
    index: int
    """NVML's number of the GPU (of the parent, for an instance)."""
    uuid: str
    name: str
    memory: int | None
    capability: tuple[int, int] | None
    mig_mode: bool = False
    """The GPU is in MIG mode: work runs only on its instances."""
    instances: tuple[Device, ...] = ()
    gpu_instance: int | None = None
    """Ids of the instance, None for a GPU."""
    compute_instance: int | None = None


class Unreadable(Struct, frozen=True):
    """A GPU that the driver counts but that cannot be read."""

    index: int
    reason: str


class Nvml:
    """The initialized library; call `close` at the end."""

    def __init__(self) -> None:
        """Raises NvmlError with the reason."""
        try:
            # Before the import of pynvml, which takes 20 ms that a machine without a GPU need not spend.
            ctypes.CDLL(LIBRARY)
        except OSError:
            raise NvmlError(NO_DRIVER, 12) from None
        self.api: Any = importlib.import_module("pynvml")
        self.must(self.api.nvmlInit)

    def close(self) -> None:
        """Shut the library down."""
        with contextlib.suppress(NvmlError):  # shut down already: the driver was unloaded
            self.must(self.api.nvmlShutdown)

    def must(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """The call's value. Raises NvmlError."""
        try:
            return call(*arguments)
        except self.api.NVMLError as error:
            raise NvmlError(in_words(error.value), error.value) from None
        except UnicodeDecodeError:
            raise NvmlError("NVML answers with a text that is not UTF-8", _UNKNOWN) from None

    def optional(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """The call's value; None where this GPU or driver lacks it. Raises NvmlError if the GPU is unreadable."""
        try:
            return self.must(call, *arguments)
        except NvmlError as error:
            if error.code in _FATAL:
                raise
            return None

    def driver(self) -> tuple[str, str]:
        """Versions of the driver and of the CUDA that it supports; empty where unknown."""
        driver = self.optional(self.api.nvmlSystemGetDriverVersion)
        cuda = self.optional(self.api.nvmlSystemGetCudaDriverVersion_v2)
        return plain(driver or "", 40), f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else ""

    def devices(self) -> list[Device | Unreadable]:
        """All GPUs that the driver counts. Raises NvmlError when it cannot count them."""
        found: list[Device | Unreadable] = []
        for index in range(self.must(self.api.nvmlDeviceGetCount)):
            try:
                found.append(self._device(index))
            except NvmlError as error:
                found.append(Unreadable(index, str(error)))
        return found

    def memory_used(self, device: Device) -> int | None:
        """Bytes that nobody else can have now: programs', and what the driver keeps. Raises NvmlError."""
        memory = self.optional(self.api.nvmlDeviceGetMemoryInfo, device.handle)
        return int(memory.used) if memory else None

    def _device(self, index: int) -> Device:
        handle = self.must(self.api.nvmlDeviceGetHandleByIndex, index)
        capability = self.optional(self.api.nvmlDeviceGetCudaComputeCapability, handle)
        shared = Device(
            handle=handle,
            index=index,
            uuid=self._text(self.api.nvmlDeviceGetUUID, handle),
            name=self._text(self.api.nvmlDeviceGetName, handle),
            memory=self._memory(handle),
            capability=(capability[0], capability[1]) if capability else None,
        )
        mode = self.optional(self.api.nvmlDeviceGetMigMode, handle)
        if not mode or mode[0] != self.api.NVML_DEVICE_MIG_ENABLE:
            return shared
        return msgspec.structs.replace(shared, mig_mode=True, instances=self._instances(shared))

    def _instances(self, parent: Device) -> tuple[Device, ...]:
        count = self.optional(self.api.nvmlDeviceGetMaxMigDeviceCount, parent.handle) or 0
        found = []
        for number in range(count):
            handle = self.optional(self.api.nvmlDeviceGetMigDeviceHandleByIndex, parent.handle, number)
            if handle is None:
                continue  # fewer instances exist than are possible
            found.append(
                Device(
                    handle=handle,
                    index=parent.index,
                    uuid=self._text(self.api.nvmlDeviceGetUUID, handle),
                    name=self._text(self.api.nvmlDeviceGetName, handle) or f"{parent.name} MIG",
                    memory=self._memory(handle),
                    capability=parent.capability,
                    gpu_instance=self.optional(self.api.nvmlDeviceGetGpuInstanceId, handle),
                    compute_instance=self.optional(self.api.nvmlDeviceGetComputeInstanceId, handle),
                )
            )
        return tuple(found)

    def _text(self, call: Callable[..., Any], handle: Any) -> str:
        return plain(self.optional(call, handle) or "", 96)

    def _memory(self, handle: Any) -> int | None:
        memory = self.optional(self.api.nvmlDeviceGetMemoryInfo, handle)
        return int(memory.total) if memory else None


def in_words(code: int) -> str:
    """The message for an NVML return code."""
    return _IN_WORDS.get(code, f"NVML error {code}")


def visible(devices: list[Device], wanted: str | None) -> list[Device]:
    """The GPUs and instances that CUDA shows under ``CUDA_VISIBLE_DEVICES=wanted``, in CUDA's order.

    As in the CUDA programming guide: numbers or (prefixes of) UUIDs. The first invalid entry ends the list; with a
    duplicate no GPU is visible. Numbers follow the order of the PCI bus, which for different GPU models is CUDA's order
    only with ``CUDA_DEVICE_ORDER=PCI_BUS_ID``. A GPU in MIG mode stands for its instances, of which a process sees only
    the first, and then no other GPU (MIG user guide, "CUDA Device Enumeration").
    """
    found = _named(devices, wanted)
    instance = next((device for device in found if device.gpu_instance is not None), None)
    return found if instance is None else [instance]


def _named(devices: list[Device], wanted: str | None) -> list[Device]:
    if wanted is None:
        return [usable for device in devices for usable in (device.instances if device.mig_mode else (device,))]
    found: list[Device] = []
    for entry in wanted.split(","):
        matches = _matching(devices, entry.strip())
        if not matches:
            break
        found += matches
    uuids = [device.uuid for device in found]
    return [] if len(set(uuids)) < len(uuids) else found


def _matching(devices: list[Device], entry: str) -> list[Device]:
    if entry.isdigit():
        chosen = [device for device in devices if device.index == int(entry)]
    elif entry.startswith("MIG-"):
        return [one for device in devices for one in device.instances if one.uuid.startswith(entry)][:1]
    else:
        chosen = [device for device in devices if entry.startswith("GPU-") and device.uuid.startswith(entry)]
        chosen = chosen if len(chosen) == 1 else []
    return [usable for device in chosen for usable in (device.instances if device.mig_mode else (device,))]
