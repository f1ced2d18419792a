"""Peak FLOP/s of GPUs: the denominators of the model FLOPs utilization (MFU).

Dense rates (no sparsity) of NVIDIA's data sheets and architecture white papers, in 10¹² operations per second, with
accumulation in float32, as training needs it. GeForce cards from Turing to Blackwell accumulate in float32 at half of
the advertised rate.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

_TERA = 1e12


class Peak(Struct, frozen=True):
    """Rates of one GPU in 10¹² operations per second; None: its tensor cores do not support the type."""

    half: float | None
    """float16 or bfloat16 on tensor cores."""
    tf32: float | None
    fp32: float
    """float32 without tensor cores."""


# The longest name that the device's name contains is used: "RTX 4500 Ada" before "RTX 4500".
_PEAKS = {
    "GTX 1080 Ti": Peak(None, None, 11.3),
    "V100-PCIE": Peak(112.0, None, 14.0),
    "V100": Peak(125.0, None, 15.7),
    "T4": Peak(65.0, None, 8.1),
    "RTX 2080 Ti": Peak(53.8, None, 13.4),
    "RTX 3060": Peak(25.5, 12.7, 12.7),
    "RTX 3070": Peak(40.6, 20.3, 20.3),
    "RTX 3080": Peak(59.5, 29.8, 29.8),
    "RTX 3080 Ti": Peak(68.2, 34.1, 34.1),
    "RTX 3090": Peak(71.2, 35.6, 35.6),
    "RTX A4000": Peak(76.7, 38.3, 19.2),
    "RTX A5000": Peak(111.1, 55.6, 27.8),
    "RTX A6000": Peak(154.8, 77.4, 38.7),
    "A10G": Peak(70.0, 35.0, 35.0),
    "A10": Peak(125.0, 62.5, 31.2),
    "A100": Peak(312.0, 156.0, 19.5),
    "RTX 4060 Ti": Peak(44.1, 22.1, 22.1),
    "RTX 4070": Peak(58.3, 29.1, 29.1),
    "RTX 4080": Peak(97.5, 48.7, 48.7),
    "RTX 4090": Peak(165.2, 82.6, 82.6),
    "RTX 4500 Ada": Peak(158.5, 79.3, 39.6),
    "RTX 6000 Ada": Peak(364.2, 182.1, 91.1),
    "L4": Peak(121.0, 60.0, 30.3),
    "L40S": Peak(362.0, 183.0, 91.6),
    "RTX 5070 Ti": Peak(87.9, 43.9, 43.9),
    "RTX 5080": Peak(112.6, 56.3, 56.3),
    "RTX 5090": Peak(209.5, 104.8, 104.8),
    "H100 PCIe": Peak(756.0, 378.0, 51.0),
    "H100 NVL": Peak(835.0, 417.5, 60.0),
    "H100": Peak(989.0, 494.0, 67.0),
    "H200": Peak(989.0, 494.0, 67.0),
    "B200": Peak(2250.0, 1100.0, 75.0),
}
_OTHERS = ("Laptop", "Max Q", "MIG", "SUPER", "Mobile")
"""Name parts of variants with another speed, whose rates are not in the table."""


def peak_flops(device: str, precision: Literal["fp32", "fp16", "bf16"], *, tf32: bool) -> float | None:
    """The peak rate of the GPU named `device` (NVML's name) in operations per second; None where it is unknown."""
    peak = _peak(f" {device.replace('-', ' ')} ".lower())
    if peak is None:
        return None
    tera = peak.half if precision != "fp32" else (peak.tf32 or peak.fp32) if tf32 else peak.fp32
    # Without tensor cores for the type the rate is that of float32.
    return (tera or peak.fp32) * _TERA


def _peak(device: str) -> Peak | None:
    if any(f" {other} ".lower() in device for other in _OTHERS):
        return None
    spelled = {f" {name.replace('-', ' ')} ".lower(): peak for name, peak in _PEAKS.items()}
    name = max((name for name in spelled if name in device), key=len, default=None)
    # A "Ti" that is not in the table is another card.
    return None if name is None or device.partition(name)[2].startswith("ti ") else spelled[name]
