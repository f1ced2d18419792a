"""Reads all GPUs, each in its own thread, so that a hanging GPU does not delay the others."""

from __future__ import annotations

import os
import threading
import time

import msgspec

from gputrain.engine.events import GpuSample
from gputrain.engine.hardware.nvml import Device, Nvml, NvmlError, Unreadable, visible
from gputrain.engine.monitor.gpus.gpu_sample import GpuReader

TIMEOUT = 0.25
"""Seconds that a sample waits for the GPUs' answers; later ones go into the next sample."""
OPEN_PATIENCE = 2.0
"""Seconds that the first sample waits for the driver."""
SILENT_AFTER = 2.0
"""Seconds without an answer after which a GPU counts as silent and its last values are dropped."""
REOPEN_AFTER = 60.0
"""Seconds between attempts to find a driver that is missing, or a GPU that was lost."""
PCIE_EVERY = 5.0
"""Seconds between two measurements of a GPU's PCIe traffic where each blocks for 20 ms; one GPU at a time."""

NOT_YET = "NVML has not answered yet"
_SILENT = "NVML does not answer"


def pending(error: str) -> bool:
    """Whether `error` means that NVML may still answer."""
    return error == NOT_YET or error.startswith(_SILENT)


class _Worker:
    """The thread of one GPU."""

    def __init__(self, reader: GpuReader, changed: threading.Condition) -> None:
        self.reader = reader
        self.pcie_at = float("-inf")
        self.asked_at: float | None = None
        """Start of the present reading; None while idle."""
        self.latest: GpuSample | None = None
        self.cost = 0.0
        """CPU seconds since it was last taken."""
        self._changed = changed
        self._pcie = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"gpu{reader.static.index}", daemon=True)
        self._thread.start()

    def ask(self, now: float, pcie: bool) -> None:
        """Start a reading. Call it with the lock held, and only while idle."""
        self.asked_at, self._pcie = now, pcie
        if pcie:
            self.pcie_at = now
        self._changed.notify_all()

    def end(self) -> None:
        """End the thread after its present call, which may hang."""
        self._ended = True
        self._changed.notify_all()

    def join(self) -> bool:
        """Wait up to `TIMEOUT` for the thread's end; returns whether it has ended."""
        self._thread.join(TIMEOUT)
        return not self._thread.is_alive()

    def sample(self, now: float) -> GpuSample:
        """The newest answer, or a sample with an error if there is none. Call it with the lock held."""
        silent = now - self.asked_at if self.asked_at is not None else 0.0
        if silent >= SILENT_AFTER:
            return _failed(self.reader.static, f"no answer for {silent:.0f} s")
        return self.latest or _failed(self.reader.static, NOT_YET)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self.asked_at is not None)
                if self._ended:
                    break
                pcie = self._pcie
            began = time.thread_time()
            try:
                sample = self.reader.read(pcie)
            except NvmlError as error:
                sample = _failed(self.reader.static, str(error))
            with self._changed:
                self.latest, self.asked_at = sample, None
                self.cost += time.thread_time() - began
                self._changed.notify_all()
        self.reader.close()


class GpuThreads:
    """Reads all GPUs on request; call `read` and `close`, which never hang, from one thread."""

    def __init__(self, only: frozenset[int] | None = None, patience: float = OPEN_PATIENCE) -> None:
        """`only`: numbers of the GPUs to read; None: all.

        `patience`: seconds that the first `read` waits for the driver, which may have to wake the GPUs.
        """
        self._only = only
        self._patience = patience
        self._changed = threading.Condition()
        self._workers: list[_Worker] = []
        self._unreadable: list[GpuSample] = []
        self._nvml: Nvml | None = None
        self._error = ""
        self._opening_since: float | None = None
        self._tried_at = float("-inf")
        self._healthy_at = time.monotonic()

    def read(self) -> tuple[tuple[GpuSample, ...], str]:
        """A sample of each GPU, and the reason if there are none."""
        self._open_if_due()
        with self._changed:
            opened = self._changed.wait_for(lambda: self._opening_since is None, self._patience)
            self._patience = TIMEOUT
            now = time.monotonic()
            if not opened and self._opening_since is not None:
                silent = now - self._opening_since
                return (), f"{_SILENT} for {silent:.0f} s" if silent >= SILENT_AFTER else NOT_YET
            idle = [worker for worker in self._workers if worker.asked_at is None]
            turn = self._pcie_turn(idle, now)
            for worker in idle:
                worker.ask(now, pcie=worker is turn)
            self._changed.wait_for(lambda: all(w.asked_at is None for w in self._workers), TIMEOUT)
            samples = [worker.sample(time.monotonic()) for worker in self._workers] + self._unreadable
        if not any(sample.error for sample in samples):
            self._healthy_at = now
        return tuple(sorted(samples, key=lambda sample: sample.index)), self._error

    def take_cost(self) -> float:
        """CPU seconds that the threads used since the last call."""
        with self._changed:
            total = sum(worker.cost for worker in self._workers)
            for worker in self._workers:
                worker.cost = 0.0
        return total

    def close(self) -> None:
        """End the threads; one that hangs is left running."""
        with self._changed:
            for worker in self._workers:
                worker.end()
            workers, self._workers = self._workers, []
            nvml, self._nvml = self._nvml, None
        ended = [worker.join() for worker in workers]
        if nvml is not None and all(ended):
            nvml.close()

    def _pcie_turn(self, idle: list[_Worker], now: float) -> _Worker | None:
        """The GPU with the oldest PCIe measurement, if that is older than `PCIE_EVERY`; else None."""
        due = [one for one in idle if one.reader.blocks_for_pcie and now - one.pcie_at >= PCIE_EVERY]
        return min(due, key=lambda one: one.pcie_at, default=None)

    def _open_if_due(self) -> None:
        now = time.monotonic()
        if self._opening_since is not None or now - self._tried_at < REOPEN_AFTER:
            return
        if self._nvml is not None:
            with self._changed:
                busy = any(worker.asked_at is not None for worker in self._workers)
            if busy or now - self._healthy_at < REOPEN_AFTER:
                return
            # NVML finds a GPU that came back only after a new initialization.
            self.close()
        self._opening_since = self._tried_at = now
        threading.Thread(target=self._open, name="nvml", daemon=True).start()

    def _open(self) -> None:
        readers: list[GpuReader] = []
        unreadable: list[GpuSample] = []
        error = ""
        nvml: Nvml | None = None
        try:
            nvml = Nvml()
            readers, unreadable = _readers(nvml, self._only)
        except NvmlError as failure:
            error = str(failure)
        if nvml is not None and not readers and not unreadable:
            nvml.close()
            nvml, error = None, error or _no_gpu(self._only)
        with self._changed:
            self._nvml, self._error, self._unreadable = nvml, error, unreadable
            self._workers = [_Worker(reader, self._changed) for reader in readers]
            self._opening_since = None
            self._changed.notify_all()


def _readers(nvml: Nvml, only: frozenset[int] | None) -> tuple[list[GpuReader], list[GpuSample]]:
    found = nvml.devices()
    devices = [one for one in found if isinstance(one, Device)]
    shown = visible(devices, os.environ.get("CUDA_VISIBLE_DEVICES"))
    cuda_index = {device.uuid: number for number, device in enumerate(shown)}
    wanted = [one for one in found if only is None or one.index in only]
    unreadable = [GpuSample(index=one.index, error=one.reason) for one in wanted if isinstance(one, Unreadable)]
    readers = []
    for device in (one for one in wanted if isinstance(one, Device)):
        try:
            readers.append(GpuReader(nvml, device, cuda_index))
        except NvmlError as error:  # lost since it was counted
            unreadable.append(GpuSample(index=device.index, uuid=device.uuid, name=device.name, error=str(error)))
    return readers, unreadable


def _no_gpu(only: frozenset[int] | None) -> str:
    return "the NVIDIA driver finds no GPU" + (f" of number {', '.join(map(str, sorted(only)))}" if only else "")


def _failed(static: GpuSample, error: str) -> GpuSample:
    return msgspec.structs.replace(static, error=error)
