"""Faults on a CUDA device with the real trainer, which a simulated device cannot show.

Without a CUDA device each is reported as unavailable, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import photos
from diagnosis_faults import Costs, Draw
from diagnosis_machine import MachineFault
from diagnosis_setup import Setup

_WINDOW = 4.0
_TIMES = 8
"""Links to each image, so that an epoch has some batches of many."""
_BASE = {
    "model": "resnet50",
    "image_size": 224,
    "val_resize": 232,
    "batch_size": 64,
    "precision": "bf16",
    "channels_last": True,
    "tf32": True,
    "compile": False,
    "pin_memory": True,
    "non_blocking": True,
    "cache": "ram",
    "gradient_checkpointing": False,
}


def missing() -> str:
    """Why there is no CUDA device; empty if there is one."""
    import torch

    if torch.cuda.is_available():
        return ""
    return "no CUDA device" if torch.backends.cuda.is_built() else "this torch is built without CUDA"


def device_name() -> str | None:
    """The device's name; None without one."""
    import torch

    return None if missing() else torch.cuda.get_device_name(0)


def _real(*, programs: int = 0, **settings: object) -> Callable[[Costs, Draw], Setup]:
    def make(costs: Costs, by: Draw) -> Setup:
        workers = max(2, costs.cores - 2)
        return Setup(
            str(photos.linked(Path(by.folder), _TIMES)),
            by.seed,
            {**_BASE, "num_workers": workers, **settings},
            window=_WINDOW,
            device="cuda",
            machine=MachineFault(gpu_programs=programs),
        )

    return make


_OWN = str(Path(__file__).parent)
MAKERS: dict[str, tuple[Callable[[Costs, Draw], Setup], tuple[str, ...]]] = {
    "gpu healthy": (_real(), ("compute-bound",)),
    "gpu no-tensor-cores": (_real(precision="fp32", tf32=False), ("no-tensor-cores",)),
    "gpu tiny batch": (_real(model="resnet18", batch_size=2, image_size=64, val_resize=64), ("launch-bound",)),
    "gpu copy-bound": (
        _real(model="simple_cnn", width=8, batch_size=256, pin_memory=False, non_blocking=False),
        ("host-copy",),
    ),
    "gpu sync points": (_real(model="diagnosis_own:synced", code_dir=_OWN), ("host-bound", "sync-points")),
    "gpu vram-pressure": (_real(model="diagnosis_own:crowded", code_dir=_OWN), ("vram-pressure",)),
    "gpu few-workers": (_real(model="resnet18", num_workers=1, cache="none"), ("few-workers",)),
    "gpu neighbour": (_real(programs=1), ("gpu-neighbour",)),
}
"""How each is made, and the hints that name it."""
