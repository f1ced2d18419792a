"""Whether data workers wait for a lock: looks from outside at what each of them is doing, a few times a second.

A worker that waits for a lock and one that waits for a slow disk both take time without using a core, but more
workers help against the second alone. The kernel tells the system call in which a thread waits (proc(5),
``/proc/PID/syscall``); waiting for a lock of any kind (the interpreter's, too) is ``futex``.
"""

from __future__ import annotations

import os
import platform
import time

from gputrain.engine.dataloading.worker_accounting import WORKING

_FUTEX = {"x86_64": b"202", "aarch64": b"98", "ppc64le": b"221", "riscv64": b"98"}.get(platform.machine())
LOOK_SECONDS = 0.05
_MOST = 16
"""Workers that are looked at; a look costs 10 µs each."""


class LockWaitSampler:
    """Counts looks at the workers that it was told of, while they work."""

    def __init__(self, *, threads: bool) -> None:
        """`threads`: the workers are threads of this process, which wait for a lock too when there is nothing to do."""
        self._threads = threads
        self._files: dict[int, int] = {}
        self._gone: set[int] = set()
        self._looked = 0.0
        self._looks = self._locked = 0

    def watch(self, thread: int) -> None:
        """Look at `thread` (the kernel's number) from now on, if that is allowed and there are few enough."""
        if thread in self._files or thread in self._gone or len(self._files) >= _MOST or _FUTEX is None:
            return
        try:
            self._files[thread] = os.open(f"/proc/{thread}/syscall", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            # Hidden (hidepid, a kernel without it) or ended: the figure is then unknown, and said to be.
            self._gone.add(thread)

    def look(self) -> None:
        """Look at all workers, unless the last look was a moment ago."""
        now = time.perf_counter()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        for thread, handle in list(self._files.items()):
            if self._threads and thread not in WORKING:
                continue
            try:
                doing = os.pread(handle, 32, 0)
            except OSError:
                # It has ended (workers live as long as an epoch), or may not be looked at.
                os.close(self._files.pop(thread))
                self._gone.add(thread)
                continue
            self._looks += 1
            self._locked += doing.split(b" ", 1)[0] == _FUTEX

    def take(self) -> float | None:
        """Share of the looks since the last call that found a working worker waiting for a lock; None: no look."""
        looks, locked = self._looks, self._locked
        self._looks = self._locked = 0
        return locked / looks if looks else None

    def close(self) -> None:
        """Close the files."""
        for handle in self._files.values():
            os.close(handle)
        self._files.clear()
