"""A calibration with round numbers, for tests to change."""

from __future__ import annotations

from typing import Any

import msgspec

from gputrain.engine.configuration import settings
from gputrain.engine.estimates.calibration import CachedCost, Calibration, StepCost, signature

GIB = 1 << 30
VALUES: dict[str, Any] = {
    **settings.flatten(settings.build({})),
    "batch_size": 64,
    "num_workers": 2,
    "loader": "threads",
    "epochs": 10,
    "precision": "fp32",
    "recipe": "demo",
}

MADE = Calibration(
    recipe="demo",
    machine="0123456789ab",
    made=1_800_000_000.0,
    settings=signature(VALUES),
    device="cuda",
    device_name="Some GPU",
    usable_cores=8.0,
    batch_size=64,
    num_workers=2,
    prefetch_factor=2,
    train_images=6400,
    val_images=640,
    file_bytes=6400 * 100_000,
    supply=400.0,
    decode_per_core=200.0,
    disk_rate=20e6,
    steps=(StepCost(32, 0.04, 0.008, 3 * GIB), StepCost(64, 0.064, 0.016, 5 * GIB)),
    together=380.0,
    spread=10.0,
    validation=640.0,
    seconds=40.0,
    cached=(
        CachedCost("none", 200.0, 100_000),
        CachedCost("raw", 2000.0, 250_000),
        CachedCost("jpeg", 300.0, 110_000),
    ),
)
"""Two workers deliver 400 images per second, the step takes 1000; both together 380."""


def made(**changes: Any) -> Calibration:
    """`MADE` with changes."""
    return msgspec.structs.replace(MADE, **changes)
