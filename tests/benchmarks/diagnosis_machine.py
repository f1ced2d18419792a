"""Faults of the machine: real kernel limits, real other programs, a really slow file system."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import control_groups
import slow_files

_MEMORY = 3 << 30
"""Limit of the group that a run fills."""
_BURN = "while True: pass"
_BURST = "import time\nwhile True:\n t = time.time()\n while time.time() < t + 0.3: pass\n time.sleep(0.6)"
_READ = (
    "import os, sys\nwhile True:\n h = os.open(sys.argv[1], os.O_RDONLY)\n"
    " os.posix_fadvise(h, 0, 0, os.POSIX_FADV_DONTNEED)\n while os.read(h, 1 << 18): pass\n os.close(h)"
)
_GPU = "import torch\na = torch.rand(4096, 4096, device='cuda')\nwhile True:\n a @ a\n torch.cuda.synchronize()"
_NEIGHBOUR_FILE = 64 << 20


@dataclass(frozen=True)
class MachineFault:
    """A fault of the machine."""

    quota: float = 0.0
    """Cores that a control group grants; 0: no limit."""
    cores: int = 0
    """Cores that the affinity allows; 0: all."""
    burners: int = 0
    """Other programs that use the CPU."""
    bursts: int = 0
    """Other programs that compute a third of the time."""
    readers: int = 0
    """Other programs that read from the disk all the time."""
    gpu_programs: int = 0
    """Other programs that compute on the GPU."""
    read_bps: int = 0
    """Bytes per second that a control group lets through from the disk."""
    read_wait: float = 0.0
    """Seconds that each read of a file takes, as on a network file system."""
    ram_share: float = 0.0
    """Share of its control group's memory that the run fills."""

    @property
    def others(self) -> bool:
        """Whether other programs are part of it."""
        return bool(self.burners or self.bursts or self.readers or self.gpu_programs)


class Unavailable(Exception):  # noqa: N818 - the name states the condition
    """The fault cannot be injected on this machine."""


@contextlib.contextmanager
def injected(fault: MachineFault) -> Iterator[None]:
    """The calling process under `fault`. Raises Unavailable."""
    with contextlib.ExitStack() as stack:
        if fault.cores:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: fault.cores])
        try:
            if fault.quota:
                stack.enter_context(control_groups.limited(control_groups.cpu(fault.quota)))
            if fault.read_bps:
                stack.enter_context(control_groups.limited(control_groups.disk(Path.cwd(), fault.read_bps)))
            if fault.ram_share:
                stack.enter_context(_filled(fault.ram_share))
        except control_groups.NoGroup as error:
            raise Unavailable(str(error)) from None
        yield


@contextlib.contextmanager
def beside(fault: MachineFault) -> Iterator[None]:
    """Other programs; call it in a process outside the trace, whose children count as the trace's own."""
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as folder:
        commands: list[tuple[str, ...]] = []
        commands += [("-S", "-c", _BURN)] * fault.burners + [("-S", "-c", _BURST)] * fault.bursts
        if fault.readers:
            file = Path(folder, "read")
            file.write_bytes(os.urandom(1 << 20) * (_NEIGHBOUR_FILE >> 20))
            # Pages that are still to be written cannot be dropped.
            os.sync()
            commands += [("-S", "-c", _READ, str(file))] * fault.readers
        commands += [("-c", _GPU)] * fault.gpu_programs
        programs = [subprocess.Popen([sys.executable, *command]) for command in commands]
        try:
            yield
        finally:
            for program in programs:
                program.kill()
                program.wait()


@contextlib.contextmanager
def served(folder: str, fault: MachineFault) -> Iterator[str]:
    """The folder from which the images of `folder` are read. Raises Unavailable."""
    if not fault.read_wait:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-mount-") as mount:
        try:
            with slow_files.slow(folder, Path(mount), fault.read_wait) as found:
                yield found
        except slow_files.CannotServe as error:
            raise Unavailable(str(error)) from None


@contextlib.contextmanager
def _filled(share: float) -> Iterator[None]:
    """Allocate memory up to `share` of this process's own limit. Raises NoGroup, Unavailable."""
    with control_groups.limited(control_groups.memory(_MEMORY)) as group:
        usage = next(file for name in ("memory.current", "memory.usage_in_bytes") if (file := group / name).exists())
        own = 4096 * int(Path("/proc/self/statm").read_text().split()[1])
        if own > _MEMORY:
            raise Unavailable("the process is larger than the limit")
        # What was there before counts for the group that it came from; leave some room for the workers.
        block = bytearray(int(_MEMORY * share) - int(usage.read_text()))
        for at in range(0, len(block), 4096):
            block[at] = 1
        yield
        del block
