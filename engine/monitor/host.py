"""CPU and memory of the host, as far as the run may use them."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from gputrain.engine.hardware.cgroup import CGroup
from gputrain.engine.hardware.machine import shm, usable_cores
from gputrain.engine.monitor.proc_file import ProcFile

_IDLE, _IOWAIT, _STEAL = 3, 4, 7
"""Columns of a cpu line in ``/proc/stat`` (proc_stat(5)); later columns are counted in user already."""
_MOST_CLOCKS = 8
"""Cores whose clock is read: each needs a file, and the clocks are similar."""
_TEMPERATURE_DRIVERS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


class CpuFigures(Struct, frozen=True, kw_only=True):
    """CPU use since the last reading; None the first time."""

    percent: float | None = None
    """Of the usable cores, 0…100."""
    per_core: tuple[float, ...] = ()
    busy: float | None = None
    """Busy cores of the affinity mask, whatever program used them."""
    steal: float | None = None
    throttled: float | None = None
    forks: int | None = None
    """Number of processes and threads started since boot."""


class Cpu:
    """Reads ``/proc/stat`` and the cgroup's counters."""

    def __init__(self, cgroup: CGroup, proc: Path = Path("/proc")) -> None:
        self._cgroup = cgroup
        self._file = ProcFile(proc / "stat", 1 << 14)
        self._cores: frozenset[int] = frozenset()
        self.usable = 0.0
        self.host_cores = os.cpu_count() or 1
        self._before: dict[int, tuple[int, int, int]] = {}
        self._group: tuple[float, float] | None = None
        self._periods: tuple[int, int] | None = None

    def read(self, now: float) -> CpuFigures:
        """CPU use since the last call; `now` is monotonic."""
        # Both may change during a run (taskset, systemctl set-property).
        self._cores, self.usable = frozenset(os.sched_getaffinity(0)), usable_cores(self._cgroup)
        content = self._file.read()
        times = _times(content, self._cores)
        before, self._before = self._before, times
        shares = [share for core in sorted(times) if (share := _shares(before.get(core), times[core])) is not None]
        group, throttled = self._group_share(now), self._throttled()
        forks = content.partition(b"\nprocesses ")[2].split(maxsplit=1)
        figures = CpuFigures(throttled=throttled, forks=int(forks[0]) if forks else None)
        if not shares:
            return figures
        busy = sum(share[0] for share in shares)
        everyone = busy / len(shares)
        return CpuFigures(
            percent=round(100 * (everyone if group is None else group), 1),
            per_core=tuple(round(100 * share[0], 1) for share in shares),
            busy=round(busy, 3),
            steal=round(sum(share[1] for share in shares), 3),
            throttled=throttled,
            forks=figures.forks,
        )

    def close(self) -> None:
        """Close the files."""
        self._file.close()

    def _group_share(self, now: float) -> float | None:
        """The cgroup's use of its quota, 0…1; None without a quota tighter than the affinity."""
        if self.usable >= len(self._cores):
            self._group = None
            return None
        used = self._cgroup.cpu_seconds()
        before, self._group = self._group, None if used is None else (now, used)
        if used is None or before is None or now <= before[0]:
            return None
        return min(1.0, max(0.0, used - before[1]) / (now - before[0]) / self.usable)

    def _throttled(self) -> float | None:
        counts = self._cgroup.throttling()
        before, self._periods = self._periods, counts
        if counts is None or before is None:
            return None
        periods = counts[0] - before[0]
        return round((counts[1] - before[1]) / periods, 4) if periods > 0 else 0.0


def _times(content: bytes, cores: frozenset[int]) -> dict[int, tuple[int, int, int]]:
    """Core → ticks in total, idle and stolen."""
    found = {}
    for line in content.split(b"\nintr", 1)[0].splitlines()[1:]:
        fields = line.split()
        core = int(fields[0][3:])
        if core in cores:
            ticks = [int(field) for field in fields[1 : _STEAL + 2]]
            found[core] = (sum(ticks), ticks[_IDLE] + ticks[_IOWAIT], ticks[_STEAL])
    return found


def _shares(before: tuple[int, int, int] | None, now: tuple[int, int, int]) -> tuple[float, float] | None:
    """Shares of the time busy and stolen; None if no time has passed."""
    if before is None or now[0] <= before[0]:
        return None
    total = now[0] - before[0]
    # The kernel's iowait count may decrease a little.
    idle, steal = max(0, now[1] - before[1]), max(0, now[2] - before[2])
    return max(0.0, (total - idle - steal) / total), steal / total


class Clocks:
    """Load, frequency and temperature of the CPU."""

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._load = ProcFile(proc / "loadavg")
        cpus = sys / "devices" / "system" / "cpu"
        cores = sorted(os.sched_getaffinity(0))[:_MOST_CLOCKS]
        self._clocks = [ProcFile(cpus / f"cpu{core}" / "cpufreq" / "scaling_cur_freq") for core in cores]
        self._heat = _heat_file(sys / "class" / "hwmon")

    def load(self) -> float | None:
        """Load average of the last minute."""
        fields = self._load.read().split()
        return float(fields[0]) if fields else None

    def frequency(self) -> float | None:
        """Mean clock in MHz of the first usable cores; None in most virtual machines."""
        clocks = [int(content) for file in self._clocks if (content := file.read().strip()).isdigit()]
        return round(sum(clocks) / len(clocks) / 1000) if clocks else None

    def temperature(self) -> float | None:
        """Temperature of the CPU's sensor in °C; None without one."""
        content = self._heat.read().strip() if self._heat else b""
        return int(content) / 1000 if content.isdigit() else None

    def close(self) -> None:
        """Close the files."""
        for file in (self._load, *self._clocks, *([self._heat] if self._heat else [])):
            file.close()


def _heat_file(folder: Path) -> ProcFile | None:
    for sensor in sorted(folder.glob("hwmon*")):
        try:
            if (sensor / "name").read_text().strip() in _TEMPERATURE_DRIVERS:
                return ProcFile(sensor / "temp1_input")
        except OSError:
            continue  # unplugged, or readable by root only
    return None


class MemoryFigures(Struct, frozen=True, kw_only=True):
    """Memory in bytes; None: not readable."""

    total: int | None = None
    available: int | None = None
    used: int | None = None
    cached: int | None = None
    swap: int | None = None
    shm_used: int | None = None
    shm_total: int | None = None


class Ram:
    """Reads ``/proc/meminfo`` and the cgroup's limit."""

    def __init__(self, cgroup: CGroup, proc: Path = Path("/proc")) -> None:
        self._cgroup = cgroup
        self._file = ProcFile(proc / "meminfo")

    def read(self) -> MemoryFigures:
        """The host's memory; under a tighter cgroup limit the limit and the cgroup's own values."""
        found: dict[bytes, int] = {}
        for line in self._file.read().splitlines():
            name, _, rest = line.partition(b":")
            found[name] = int(rest.split()[0]) * 1024
        total, available = found.get(b"MemTotal"), found.get(b"MemAvailable", found.get(b"MemFree"))
        cached = found.get(b"Cached")
        swap = found[b"SwapTotal"] - found[b"SwapFree"] if b"SwapTotal" in found else None
        shm_total, shm_used = shm()
        limited = self._cgroup.memory_now()
        if limited is not None and total is not None and available is not None and limited.limit < total:
            total, available = limited.limit, min(available, limited.available)
            # Files in /dev/shm count against the limit. A container may see the host's, with other programs' files.
            shm_total = min(shm_total, limited.limit)
            shm_used = min(shm_used, limited.shared if limited.shared is not None else shm_total)
            # Page cache and swap are the cgroup's; unknown where the kernel does not report them.
            cached, swap = limited.cached, limited.swap
        return MemoryFigures(
            total=total,
            available=available,
            used=total - available if total is not None and available is not None else None,
            cached=cached,
            swap=swap,
            shm_used=shm_used if shm_total else None,
            shm_total=shm_total or None,
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Net:
    """Traffic of all network interfaces but the loopback."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._file = ProcFile(proc / "net" / "dev", 1 << 13)
        self._before: tuple[float, int, int] | None = None

    def read(self, now: float) -> tuple[float | None, float | None]:
        """Bytes per second received and sent since the last call; None the first time."""
        received = sent = 0
        lines = self._file.read().splitlines()[2:]
        for line in lines:
            name, _, rest = line.partition(b":")
            fields = rest.split()
            # Bridges and container pairs would count the same bytes again.
            if name.strip() == b"lo" or name.strip().startswith((b"veth", b"br-", b"docker")):
                continue
            received, sent = received + int(fields[0]), sent + int(fields[8])
        before, self._before = self._before, (now, received, sent) if lines else None
        if before is None or not lines or now <= before[0] or received < before[1] or sent < before[2]:
            return None, None
        seconds = now - before[0]
        return round((received - before[1]) / seconds), round((sent - before[2]) / seconds)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
