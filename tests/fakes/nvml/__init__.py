"""A stand-in for NVIDIA's NVML library, compiled on the spot, with figures that a test writes and changes.

Programs under test load it through the real nvidia-ml-py binding: start them with `NvmlStandIn.env` in their
environment. See nvml.c for the keys.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml.c")
LIBRARY = "libnvidia-ml.so.1"
GIB = 1 << 30

Figures = Mapping[str, object]

RTX_3090: Figures = {
    "name": "NVIDIA GeForce RTX 3090",
    "capability": 8.6,
    "memory_total": 24 * GIB,
    "memory_used": 12 * GIB,
    "utilization": 71,
    "memory_utilization": 40,
    "power": 280_500,
    "power_limit": 350_000,
    "temperature": 67,
    "temperature_slowdown": 95,
    "fan": 55,
    "sm_clock": 1695,
    "sm_clock_max": 2100,
    "memory_clock": 9501,
    "memory_clock_max": 9751,
    "throttle": 0,
    "pcie_generation": 4,
    "pcie_width": 16,
    "pcie_generation_max": 4,
    "pcie_width_max": 16,
    "pcie_rx": 1_200_000,
    "pcie_tx": 300_000,
    "encoder": 0,
    "decoder": 3,
}
"""Figures of a consumer card under load: no ECC, no MIG, no NVLink, no GPM. Units as NVML has them."""


def compiler() -> str | None:
    """The C compiler that would be used; None without one."""
    return shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")


def build(folder: Path) -> Path:
    """Compile the library into `folder`. Raises CalledProcessError with the compiler's words on stderr."""
    target = folder / LIBRARY
    command = [compiler() or "cc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC"]
    command += ["-shared", f"-Wl,-soname,{LIBRARY}", "-pthread", "-o", str(target), str(SOURCE)]
    subprocess.run(command, check=True)
    return target


class NvmlStandIn:
    """The library, and the script that it answers from. Starts with a driver and no GPU."""

    def __init__(self, library: Path, script: Path) -> None:
        self._script = script
        self._values: dict[str, object] = {}
        paths = [str(library.parent), os.environ.get("LD_LIBRARY_PATH", "")]
        self.env = {
            "LD_LIBRARY_PATH": os.pathsep.join(path for path in paths if path),
            "GPUTRAIN_NVML_SCRIPT": str(script),
        }
        """To be merged into a child process's environment."""
        self.set({"driver": "580.95.05", "nvml": "13.580.95", "cuda": 13000, "gpus": 0})

    def set(self, values: Figures) -> None:
        """Change keys (``{"gpu0.power": 250_000, "gpu1.error": 15}``); None takes a key away."""
        self._values |= values
        self._values = {key: value for key, value in self._values.items() if value is not None}
        aside = self._script.with_suffix(".new")
        aside.write_text("".join(f"{key} = {value}\n" for key, value in self._values.items()))
        aside.replace(self._script)

    def gpus(self, count: int, figures: Figures = RTX_3090) -> None:
        """Have `count` GPUs with `figures` each."""
        values: dict[str, object] = {"gpus": count}
        for index in range(count):
            values |= {f"gpu{index}.{key}": value for key, value in figures.items()}
            values[f"gpu{index}.uuid"] = f"GPU-0000000{index}-1111-2222-3333-444444444444"
        self.set(values)

    def mig(self, gpu: int, instances: int, memory: int = 10 * GIB) -> None:
        """Divide a GPU: no utilization any more, and instances with memory of their own."""
        start = f"gpu{gpu}."
        values: dict[str, object] = {f"{start}mig": 1, f"{start}mig_max": 7, f"{start}utilization": None}
        for number in range(instances):
            values |= {
                f"{start}mig{number}.uuid": f"MIG-0000000{gpu}-000{number}-2222-3333-444444444444",
                f"{start}mig{number}.name": "NVIDIA A100-SXM4-40GB MIG 1g.10gb",
                f"{start}mig{number}.memory_total": memory,
                f"{start}mig{number}.memory_used": (number + 1) * GIB,
                f"{start}mig{number}.gpu_instance": 7 + number,
                f"{start}mig{number}.compute_instance": 0,
            }
        self.set(values)
