"""GPUs that can no longer be read, and those that can again: a sentence each, when that changes."""

from __future__ import annotations

from typing import Literal

from gputrain.engine.events import GpuSample, HardwareSample
from gputrain.engine.monitor.gpus.gpu_threads import NOT_YET

Told = tuple[Literal["info", "warning"], str]


class GpuHealth:
    """Compares the GPUs of each sample with those of the one before."""

    def __init__(self) -> None:
        self._lost: set[int] = set()
        self._read: set[int] = set()
        """Numbers of GPUs that could be read at some time."""

    def take(self, sample: HardwareSample) -> list[Told]:
        """What there is to tell: level and sentence."""
        gone = self._read - {gpu.index for gpu in sample.gpus} if sample.gpu_error not in ("", NOT_YET) else set()
        told = [_lost(f"GPU {index}", sample.gpu_error) for index in sorted(gone - self._lost)]
        self._lost |= gone
        for gpu in sample.gpus:
            if gpu.error == NOT_YET:
                continue
            if gpu.error and gpu.index not in self._lost:
                self._lost.add(gpu.index)
                told.append(_lost(_name(gpu), gpu.error))
            elif not gpu.error:
                self._read.add(gpu.index)
                if gpu.index in self._lost:
                    self._lost.remove(gpu.index)
                    told.append(("info", f"{_name(gpu)} can be read again"))
        return told


def _lost(name: str, error: str) -> Told:
    return "warning", f"{name} cannot be read: {error}"


def _name(gpu: GpuSample) -> str:
    return f"GPU {gpu.index} ({gpu.name})" if gpu.name else f"GPU {gpu.index}"
