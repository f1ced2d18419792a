"""Which samples a training learned from, in which order: written down by the model itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import mock

from faultlab import Lab, Live
from owncode import NETS


def watched(lab: Lab, room: int = 1_000_000, **changes: Any) -> tuple[Live, Path]:
    """A new run whose model writes a fingerprint of each image that it learns from into the file that is returned.

    `room`: how many images at once do not exceed its device's memory.
    """
    code, log = lab.folder / "code", lab.folder / f"seen-{lab.random.getrandbits(32):x}"
    code.mkdir(exist_ok=True)
    (code / "small_nets.py").write_text(NETS)
    # Texts and bytes have other hashes in each process, unless told not to.
    with mock.patch.dict(os.environ, ROOM=str(room), SEEN=str(log), PYTHONHASHSEED="0"):
        return lab.launch(model="small_nets:Small", code_dir=str(code), **changes), log


def samples(log: Path) -> list[str]:
    """The fingerprints so far, in order."""
    return log.read_text().splitlines()


def different(one: list[str], other: list[str]) -> int:
    """Places at which two trainings learned from another sample, or only one of them from any."""
    return sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))
