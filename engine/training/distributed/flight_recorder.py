"""torch's flight recorder: the newest collectives of this process, which gloo and NCCL both record."""

from __future__ import annotations

import json
import os
from typing import Any

import torch

_VARIABLE = "TORCH_FR_BUFFER_SIZE"
_KEPT = "32"
"""Collectives; more only make a dump longer."""


def turn_on() -> None:
    """Record collectives of groups made from now on, unless the user has set how many."""
    os.environ.setdefault(_VARIABLE, _KEPT)


def newest_collective() -> tuple[int, str]:
    """Number and name of the newest collective that this process has begun; (-1, "") if none is recorded."""
    newest = -1, ""
    for name in ("_dump_fr_trace_json", "_dump_nccl_trace_json"):
        # Neither is public; one is for gloo, the other for NCCL.
        dump: Any = getattr(torch._C._distributed_c10d, name, None)
        try:
            entries = json.loads(dump())["entries"] if dump is not None else []
            newest = max(newest, *((int(one["record_id"]), str(one["profiling_name"])) for one in entries), newest)
        except (ValueError, LookupError, TypeError, RuntimeError):
            continue
    return newest
