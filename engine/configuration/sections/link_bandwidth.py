"""The settings `gpu_bandwidth` and `network_bandwidth`: an interconnect by name, or a figure with its unit. Pure.

Figures are bus bandwidths as nccl-tests prints them (``busbw``): bytes per second in one direction that a ring
all-reduce reaches on the slowest link of the ring.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from gputrain.engine.common.errors import did_you_mean
from gputrain.engine.common.sanitize import plain

AUTO = "auto"
_UNITS = {"kB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9, "Kb/s": 1e3 / 8, "Mb/s": 1e6 / 8, "Gb/s": 1e9 / 8}
FORM = "auto, an interconnect (nvlink4, pcie4, 25GbE …), or a figure with its unit, such as 12GB/s or 25Gb/s"
_MOST = 1e14
_REACHED = "80 % of the line rate, an assumption"


class Bandwidth(NamedTuple):
    """What a link between devices carries."""

    bytes_per_second: float
    name: str
    """The interconnect; the figure as given without one."""
    source: str
    """Where the figure comes from; empty if it was given."""

    def __str__(self) -> str:
        shown = f"{self.bytes_per_second / 1e9:.3g} GB/s"
        return f"{shown} ({self.name}: {self.source})" if self.source else shown


def _ethernet(gigabits: int) -> tuple[float, str]:
    return gigabits * 1e9 / 8 * 0.8, f"{_REACHED}; measure yours"


INTERCONNECTS: dict[str, tuple[float, str]] = {
    "nvlink2": (120e9, f"150 GB/s each way, {_REACHED}"),
    "nvlink3": (208e9, "measured between A100s, github.com/NVIDIA/nccl-tests/issues/178"),
    "nvlink4": (370e9, "ring on H100s, github.com/NVIDIA/nccl-tests/issues/212"),
    "nvlink5": (720e9, f"900 GB/s each way, {_REACHED}"),
    "pcie3": (10e9, "half of PCIe 4.0"),
    "pcie4": (20e9, "measured between A100s, github.com/NVIDIA/nccl-tests/issues/178; less without peer access"),
    "pcie5": (40e9, "twice PCIe 4.0"),
    **{f"{speed}GbE": _ethernet(speed) for speed in (1, 10, 25, 40, 100, 200, 400)},
    "loopback": (1e9, "gloo between processes on two cores"),
}
"""Bytes per second and their source."""
_ALIASES = {"nvlink": "nvlink4", "pcie": "pcie4"}


def normalised(value: Any) -> str:
    """The setting as text: ``auto``, a name of `INTERCONNECTS`, or ``12.5GB/s``. Raises ValueError for others."""
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    if text.lower() == AUTO:
        return AUTO
    for name in (*INTERCONNECTS, *_ALIASES):
        if text.lower() == name.lower():
            return _ALIASES.get(name, name)
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?([A-Za-z]{2}/s)", text)
    if found is None or found[2] not in _UNITS:
        unit = "; bytes are B, bits are b" if re.fullmatch(r"[0-9.]+ ?[A-Za-z/]*", text) else ""
        raise ValueError(FORM + unit + did_you_mean(plain(text, 60), INTERCONNECTS))
    if not 0 < float(found[1]) * _UNITS[found[2]] <= _MOST:
        raise ValueError(f"{FORM}; more than 0 and at most {_MOST / 1e9:g} GB/s")
    return f"{found[1]}{found[2]}"


def parse(text: str, automatic: str) -> Bandwidth:
    """The bandwidth of a checked setting; `automatic`: the interconnect that ``auto`` stands for."""
    name = automatic if text == AUTO else text
    if name in INTERCONNECTS:
        known = INTERCONNECTS[name]
        return Bandwidth(known[0], name + (", assumed" if text == AUTO else ""), known[1])
    figure, unit = text[:-4], text[-4:]
    return Bandwidth(float(figure) * _UNITS[unit], text, "")


def of_gpu(name: str) -> str:
    """The interconnect between GPUs of this name in a machine, as far as the name says it; else PCIe 4.0."""
    upper = name.upper()
    if "B200" in upper or "B300" in upper:
        return "nvlink5"
    if any(part in upper for part in ("H200", "GH200", "H100 80GB HBM3", "H100 SXM", "H800")):
        return "nvlink4"
    if "A100-SXM" in upper or "A800-SXM" in upper:
        return "nvlink3"
    return "nvlink2" if "V100-SXM" in upper else "pcie4"
