"""GPU health: a message when a GPU can no longer be read, and when it can be read again."""

from __future__ import annotations

from typing import Literal

from gputrain.engine.events import GpuSample, HardwareSample
from gputrain.engine.monitor.gpus.gpu_threads import NOT_YET

Message = tuple[Literal["info", "warning"], str]


class GpuHealth:
    """Compares the GPUs of each sample with those of the one before."""

    def __init__(self) -> None:
        self._lost: set[int] = set()
        self._read: set[int] = set()
        """Numbers of GPUs that have been readable."""

    def take(self, sample: HardwareSample) -> list[Message]:
        """The new messages, as level and text."""
        gone = self._read - {gpu.index for gpu in sample.gpus} if sample.gpu_error not in ("", NOT_YET) else set()
        messages = [_lost(f"GPU {index}", sample.gpu_error) for index in sorted(gone - self._lost)]
        self._lost |= gone
        for gpu in sample.gpus:
            if gpu.error == NOT_YET:
                continue
            if gpu.error and gpu.index not in self._lost:
                self._lost.add(gpu.index)
                messages.append(_lost(_name(gpu), gpu.error))
            elif not gpu.error:
                self._read.add(gpu.index)
                if gpu.index in self._lost:
                    self._lost.remove(gpu.index)
                    messages.append(("info", f"{_name(gpu)} can be read again"))
        return messages


def _lost(name: str, error: str) -> Message:
    return "warning", f"{name} cannot be read: {error}"


def _name(gpu: GpuSample) -> str:
    return f"GPU {gpu.index} ({gpu.name})" if gpu.name else f"GPU {gpu.index}"
