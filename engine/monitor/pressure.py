"""Pressure stall information (PSI): share of the time in which tasks waited for CPU, disk or memory.

The cgroup's values if it has them, else the host's. Source: Documentation/accounting/psi.rst.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gputrain.engine.hardware.cgroup import CGroup
from gputrain.engine.monitor.proc_file import ProcFile

Resource = Literal["cpu", "io", "memory"]


class Pressure:
    """Reads the pressure of CPU, I/O and memory; keeps the files open."""

    def __init__(self, cgroup: CGroup, proc: Path = Path("/proc")) -> None:
        self._files = {name: ProcFile(_path(name, cgroup, proc)) for name in ("cpu", "io", "memory")}

    def some(self, resource: Resource) -> float | None:
        """Share of the last 10 s in which at least one task waited, 0…1; None where the kernel has no PSI."""
        return _average(self._files[resource].read(), b"some ")

    def full(self, resource: Resource) -> float | None:
        """Share of the last 10 s in which all tasks waited at the same time, 0…1; None where the kernel has no PSI."""
        return _average(self._files[resource].read(), b"full ")

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()


def _path(name: str, cgroup: CGroup, proc: Path) -> Path:
    own = [folder / f"{name}.pressure" for folder in cgroup.unified[:1]]
    return next((path for path in own if path.exists()), proc / "pressure" / name)


def _average(content: bytes, kind: bytes) -> float | None:
    """``some avg10=1.53 avg60=…`` → 0.0153."""
    for line in content.splitlines():
        if line.startswith(kind):
            for field in line.split():
                if field.startswith(b"avg10="):
                    return round(float(field[6:]) / 100, 4)
    return None
