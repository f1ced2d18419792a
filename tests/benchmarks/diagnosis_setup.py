"""What a trace is made of: the settings, the simulated device, and the faults that are really injected."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gputrain.engine.training import decode
from gputrain.engine.training.accounting import Meter
from gputrain.engine.training.decode import Choose
from gputrain.engine.training.images import ImageSet
from gputrain.engine.training.samples import read_file

_lock = threading.Lock()
_started = threading.Event()
"""Set once this process has made a sample."""
CGROUPS = Path("/sys/fs/cgroup")
AHEAD = 6
"""Steps that are queued on the device unfinished at most, as by the trainer's clock."""


@dataclass(frozen=True)
class SampleFault:
    """What is wrong with the samples."""

    sleep: float = 0.0
    """Seconds that each sample waits for something that is no file (a network, say)."""
    read: float = 0.0
    """Seconds that each file takes longer to read, as on a network file system."""
    locked: float = 0.0
    """Seconds that each sample holds a lock that all workers share."""
    slow: tuple[int, ...] = ()
    """Indices of samples that take `slow_seconds` longer."""
    slow_seconds: float = 0.0
    start: float = 0.0
    """Seconds that a worker process needs longer to begin (to open an archive, say)."""
    uncached: bool = False
    """Each file is dropped from the page cache before it is read."""


@dataclass(frozen=True)
class FaultySource:
    """Files with something wrong; in the place of the loader's `FileSource`."""

    images: ImageSet
    fault: SampleFault

    def render(self, index: int, choose: Choose, out: torch.Tensor, meter: Meter) -> None:
        """As `FileSource`, with the faults."""
        fault, path = self.fault, self.images.path(index)
        if fault.start and not _started.is_set():
            time.sleep(fault.start)
        _started.set()
        if fault.uncached:
            _drop(path)
        if fault.read:
            began = time.perf_counter()
            time.sleep(fault.read)
            meter.read(time.perf_counter() - began, 0)
        data = read_file(path, meter)
        if fault.sleep:
            time.sleep(fault.sleep)
        if fault.locked:
            with _lock:
                time.sleep(fault.locked)
        if index in fault.slow:
            time.sleep(fault.slow_seconds)
        decode.render(data, path, choose, out)


def _drop(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class MachineFault:
    """What is wrong with the machine; real limits of the kernel, and real other programs."""

    quota: float = 0.0
    """Cores that a cgroup grants; 0: no limit."""
    cores: int = 0
    """Cores that the affinity allows; 0: all."""
    burners: int = 0
    """Other programs that compute."""
    read_bps: int = 0
    """Bytes per second that a cgroup lets through from the disk."""
    ram_share: float = 0.0
    """Share of its cgroup's memory limit that the run fills."""


@dataclass(frozen=True)
class Setup:
    """A trace: all that is given to the process that makes it."""

    folder: str
    """Images in class folders below ``train``."""
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    step: float = 0.0
    """Seconds that the simulated device computes on a batch; 0: the real trainer on the CPU."""
    copy: float = 0.0
    host: float = 0.0
    """Seconds that the host needs to launch a step; the device is idle where they are more than its own."""
    stall: tuple[str, float, float] | None = None
    """Every so many seconds the loop ``saves`` or ``validates`` for so long: (which, every, seconds)."""
    sample: SampleFault = SampleFault()
    machine: MachineFault = MachineFault()
    epoch_seconds: float = 0.0
    """Length of an epoch of the simulated device; 0: as long as the trace."""
    first_epoch: int = 0
    seconds: float = 4.5


class Unavailable(Exception):  # noqa: N818 - reads as what it is
    """This machine does not let the fault be injected."""


@contextlib.contextmanager
def injected(fault: MachineFault) -> Iterator[None]:
    """The calling process under `fault`. Raises Unavailable."""
    with contextlib.ExitStack() as stack:
        if fault.cores:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: fault.cores])
        if fault.quota:
            stack.enter_context(_grouped("cpu", {"cpu.cfs_quota_us": f"{int(fault.quota * 100_000)}"}))
        if fault.read_bps:
            limit = f"{_disk_of(Path.cwd())} {fault.read_bps}"
            stack.enter_context(_grouped("blkio", {"blkio.throttle.read_bps_device": limit}))
        if fault.ram_share:
            stack.enter_context(_filled(fault.ram_share))
        yield


@contextlib.contextmanager
def burning(count: int) -> Iterator[None]:
    """Other programs that compute; for a process that is not the trace's, whose children count as its own."""
    burn = [sys.executable, "-S", "-c", "while True: pass"]
    programs = [subprocess.Popen(burn) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


@contextlib.contextmanager
def _grouped(controller: str, values: dict[str, str]) -> Iterator[Path]:
    """A cgroup (version 1) below this process's own, with this process in it."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            break
    else:
        raise Unavailable(f"no cgroup controller '{controller}' of version 1")
    parent = CGROUPS / controller / path.lstrip("/")
    group = parent / f"gputrain-bench-{os.getpid()}"
    try:
        group.mkdir()
        for name, value in values.items():
            (group / name).write_text(value)
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        raise Unavailable(f"cgroups cannot be changed here: {error}") from None
    try:
        yield group
    finally:
        (parent / "cgroup.procs").write_text(str(os.getpid()))
        # Its worker processes may need a moment to leave.
        with contextlib.suppress(OSError):
            group.rmdir()


def _disk_of(path: Path) -> str:
    """Number of the disk that a throttle applies to, ``254:0``."""
    number = path.stat().st_dev
    return f"{os.major(number)}:{os.minor(number)}"


@contextlib.contextmanager
def _filled(share: float) -> Iterator[None]:
    """Memory of this process that fills `share` of a limit of its own."""
    limit = 3 << 30
    with _grouped("memory", {"memory.limit_in_bytes": str(limit)}) as group:
        used = int((group / "memory.usage_in_bytes").read_text())
        own = 4096 * int(Path("/proc/self/statm").read_text().split()[1])
        # What was there before counts for the group that it came from; leave some room for the workers.
        block = bytearray(int(limit * share) - used)
        for at in range(0, len(block), 4096):
            block[at] = 1
        if own > limit:
            raise Unavailable("the process is larger than the limit")
        yield
        del block
