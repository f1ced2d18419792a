"""Power of the CPU packages, from the kernel's RAPL counters (``/sys/class/powercap``, Intel and AMD).

Most kernels let only root read the counters, since their fine steps reveal secrets of other programs (CVE-2020-8694).
They are unknown then.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

from gputrain.engine.monitor.proc_file import ProcFile

_ZONES = Path("/sys/class/powercap")


class _Package(NamedTuple):
    counter: ProcFile
    most: int
    """Microjoules at which the counter begins again at 0."""


class CpuPower:
    """Reads the counters of all packages; their cores and memory are parts of them, or not counted at all."""

    def __init__(self, zones: Path = _ZONES) -> None:
        self._packages = [package for zone in sorted(zones.glob("*-rapl:*")) if (package := _open(zone)) is not None]
        self._before: list[int] = []
        self._at = 0.0

    def read(self, now: float) -> float | None:
        """Mean watts of all packages since the last call; None the first time, and where no counter can be read."""
        counts = [value for package in self._packages if (value := _count(package)) is not None]
        before, self._before = self._before, counts
        seconds, self._at = now - self._at, now
        if not counts or len(before) != len(counts) or seconds <= 0:
            return None
        used = [
            new - old if new >= old else new - old + package.most
            for old, new, package in zip(before, counts, self._packages, strict=True)
        ]
        return round(sum(used) / 1e6 / seconds, 3)

    def close(self) -> None:
        """Close the files."""
        for package in self._packages:
            package.counter.close()


def _open(zone: Path) -> _Package | None:
    with contextlib.suppress(OSError, ValueError):
        if (zone / "name").read_text().startswith("package"):
            return _Package(ProcFile(zone / "energy_uj", 64), int((zone / "max_energy_range_uj").read_text()))
    return None


def _count(package: _Package) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(package.counter.read())
    return None
