"""What a training script may say of itself when it runs under ``gputrain-tui exec``; without that, nothing happens.

    from gputrain import report

    report.step(samples=len(batch), loss=loss.item())
    report.log(accuracy=0.91)
    report.phase("validation")

For what cannot be learned without: a loop without a DataLoader or an optimizer of torch, a validation that looks like
training. Standard library only; a call costs less than a microsecond where nobody watches.
"""

from __future__ import annotations

import sys
from typing import Any, Literal

__all__ = ["log", "phase", "step"]

_PHASES = ("training", "validation")
# The probe of `exec` is there before the script's first line, or not at all.
_reports: Any | None = getattr(sys.modules.get("_gputrain_probe.start"), "reports", None)


def step(*, samples: int = 0, loss: float | None = None) -> None:
    """Report that an update of the weights is done. From the first call on, only reported steps are counted.

    `samples`: how many samples it was made from; 0: as many as the DataLoader gave.
    `loss`: a number, or a tensor on the CPU with one element. A tensor on a GPU is not read: that would wait for it.
    """
    if _reports is not None:
        _reports.step(samples, loss)


def log(**values: float) -> None:
    """Report numbers, each of which gets a curve: ``report.log(accuracy=0.91)``."""
    if _reports is not None:
        _reports.log(values)


def phase(name: Literal["training", "validation"]) -> None:
    """Report what the script does from now on; validation belongs to no step. Raises ValueError for other names."""
    if name not in _PHASES:
        raise ValueError(f"phase must be 'training' or 'validation', got {name!r}")
    if _reports is not None:
        _reports.phase(name == "validation")
