"""Lock contention of data workers: samples the system call of each worker a few times a second.

A worker that waits for a lock and one that waits for a slow disk both use no core, but more workers only help with the
disk. ``/proc/PID/syscall`` (proc(5)) names the system call in which a thread waits; for a lock in memory, the GIL
included, it is ``futex``, for one of a file ``flock`` or ``fcntl``.
"""

from __future__ import annotations

import os
import platform
import time

from gputrain.engine.dataloading.worker_accounting import BUSY_THREADS

_WAITS = {
    "x86_64": (b"202", b"73", b"72"),
    "aarch64": (b"98", b"32", b"25"),
    "ppc64le": (b"221", b"143", b"55"),
    "riscv64": (b"98", b"32", b"25"),
}.get(platform.machine())
"""Numbers of futex, flock and fcntl; of the last two only a call that waits is ever seen."""
SAMPLE_SECONDS = 0.05
_MAX_WORKERS = 16
"""Workers that are sampled at most; a sample costs 10 µs each."""


class LockWaitSampler:
    """Samples the watched workers while they work."""

    def __init__(self, *, threads: bool) -> None:
        """`threads`: the workers are threads of this process, which also wait for a lock when they are idle."""
        self._threads = threads
        self._files: dict[int, int] = {}
        self._ended: set[int] = set()
        self._sampled_at = 0.0
        self._samples = self._locked = 0

    def watch(self, thread: int) -> None:
        """Sample `thread` (the kernel's number) from now on, if permitted and fewer than the limit are watched."""
        if thread in self._files or thread in self._ended or len(self._files) >= _MAX_WORKERS or _WAITS is None:
            return
        try:
            self._files[thread] = os.open(f"/proc/{thread}/syscall", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            # Hidden (hidepid, a kernel without it) or ended: the share is then unknown (None).
            self._ended.add(thread)

    def sample(self) -> None:
        """Sample all workers, at most once in SAMPLE_SECONDS."""
        now = time.perf_counter()
        if now - self._sampled_at < SAMPLE_SECONDS:
            return
        self._sampled_at = now
        for thread, handle in list(self._files.items()):
            if self._threads and thread not in BUSY_THREADS:
                continue
            try:
                call = os.pread(handle, 32, 0)
            except OSError:
                # It has ended (workers live as long as an epoch), or access is denied.
                os.close(self._files.pop(thread))
                self._ended.add(thread)
                continue
            self._samples += 1
            self._locked += _WAITS is not None and call.split(b" ", 1)[0] in _WAITS

    def take_share(self) -> float | None:
        """Share of the samples since the last call in which a busy worker waited for a lock; None: no samples."""
        samples, locked = self._samples, self._locked
        self._samples = self._locked = 0
        return locked / samples if samples else None

    def close(self) -> None:
        """Close the files."""
        for handle in self._files.values():
            os.close(handle)
        self._files.clear()
