"""Causes and remedies for nearly full memory: RAM, ``/dev/shm``, GPU memory."""

from __future__ import annotations

from typing import Any

from gputrain.engine.configuration.engine_choice import is_keras
from gputrain.engine.diagnosis.tree import MUCH, Cause, Fix, Question, Severity
from gputrain.engine.diagnosis.windows.signals import Signals

RAM_FULL, RAM_CRITICAL = 0.90, 0.97
SHM_FULL = 0.90
VRAM_FULL = 0.90
FRAGMENTED = 2.0
"""Reserved over allocated GPU memory from which the allocator's memory counts as fragmented."""
FEW = 0.30
"""Share of the used memory below which the run itself could free little."""


def _part_of_run(s: Signals) -> float | None:
    if s.run_memory is None or not s.ram_used or not s.ram_total:
        return None
    return s.run_memory / (s.ram_used * s.ram_total)


def less_memory(s: Signals) -> dict[str, Any]:
    """The mildest change that frees memory: a smaller prefetch_factor, then fewer workers, then smaller batches."""
    prefetch, batch = s.setting("prefetch_factor", 1), s.setting("batch_size", 1)
    if s.workers and prefetch > 1:
        return {"prefetch_factor": prefetch // 2}
    if s.workers > 1:
        return {"num_workers": s.workers // 2}
    return {"batch_size": batch // 2} if batch > 1 else {}


def _less_ram(s: Signals) -> Fix:
    part = _part_of_run(s)
    if part is not None and part < FEW:
        return Fix("Other programs use most of it: stop or move them.")
    changes = less_memory(s)
    cached = " The image cache (cache=ram) is part of the used memory." if s.setting("cache", "none") == "ram" else ""
    if "prefetch_factor" in changes:
        return Fix(f"Prefetch fewer batches: prefetch_factor={changes['prefetch_factor']}.{cached}", changes)
    if "num_workers" in changes:
        fewer = f"num_workers={changes['num_workers']} instead of {s.workers}"
        return Fix(f"Use fewer workers, each of which holds batches: {fewer}.{cached}", changes)
    if "batch_size" in changes:
        return Fix(f"Use smaller batches: batch_size={changes['batch_size']}.{cached}", changes)
    return Fix(f"No setting of this run needs less memory: free memory elsewhere.{cached}")


def _less_shm(s: Signals) -> Fix:
    larger = "Enlarge /dev/shm (docker run --shm-size)"
    if s.setting("dataset", "") == "custom":
        return Fix(f"{larger}, or prefetch fewer batches.", less_memory(s))
    if s.setting("cache", "none") == "ram":
        return Fix(f"{larger}, or keep the image cache on disk: cache=disk.")
    return Fix(f"{larger}, or delete files of other programs there. This run's batches are not in /dev/shm.")


def _less_vram(s: Signals) -> Fix:
    batch = s.setting("batch_size", 1)
    if s.precision == "fp32":
        return Fix("Use half precision, which needs about half the memory: precision=auto.", {"precision": "auto"})
    if not s.setting("gradient_checkpointing", False) and not is_keras(s.settings):
        return Fix(
            "Recompute activations in the backward pass (gradient_checkpointing=true), or use smaller batches.",
            {"gradient_checkpointing": True},
        )
    return Fix("Use smaller batches.", {"batch_size": batch // 2} if batch > 1 else {})


_RUN = Question(lambda s: s.run_memory, "the run's processes hold {}", unit="bytes")
_TOTAL = Question(lambda s: s.ram_total, "the limit is {}", unit="bytes")
_RAM_USED = "{} of the RAM is used (not available without swapping)"
_MEMORY_STALLS = "all tasks stalled on memory {} of the time"


def _ram(severity: Severity, least: float, below: float | None) -> Cause:
    """RAM pressure by the memory available under the limit; page cache does not count as used."""
    used = Question(lambda s: s.ram_used, _RAM_USED, least=least, below=below)
    return Cause(
        "ram-pressure",
        "RAM is nearly full",
        (used,),
        _less_ram,
        "available memory grows when other programs end",
        lambda s: s.psi_memory_full or 0.0,
        (_TOTAL, _RUN, Question(lambda s: s.psi_memory_full, _MEMORY_STALLS)),
        severity,
    )


def _in_one_piece(s: Signals) -> Fix:
    return Fix(
        "The allocator holds more memory than the tensors need, in blocks that are too small. Start the run with "
        "PYTORCH_ALLOC_CONF=expandable_segments:True in its environment, if that is not set already."
    )


PRESSURE = (
    _ram("critical", RAM_CRITICAL, None),
    _ram("warning", RAM_FULL + 1e-9, RAM_CRITICAL),
    Cause(
        "ram-pressure",
        "Tasks stall because memory is short",
        (Question(lambda s: s.psi_memory_full, _MEMORY_STALLS, least=MUCH),),
        _less_ram,
        "the stalls stay the same without this run",
        lambda s: s.psi_memory_full,
        (_TOTAL, _RUN, Question(lambda s: s.ram_used, _RAM_USED)),
    ),
    Cause(
        "shm-full",
        "Shared memory (/dev/shm) is nearly full",
        (Question(lambda s: s.shm_used, "{} of /dev/shm is used", least=SHM_FULL),),
        _less_shm,
        "the used size stays the same without this run",
        lambda s: 0.0,
        severity="warning",
    ),
    Cause(
        "out-of-memory",
        "Batches are split, because GPU memory ran out",
        (Question(lambda s: s.batch_parts, "parts of each batch: {}", least=2, unit="count"),),
        _less_vram,
        "the number of parts stays the same with a smaller batch",
        lambda s: 0.0,
        (Question(lambda s: s.vram, "{} of the GPU memory used at the peak"),),
        "warning",
    ),
    Cause(
        "vram-pressure",
        "GPU memory is fragmented: the allocator frees and retries",
        (
            Question(lambda s: s.alloc_retries, "allocator retries: {}", least=1, unit="count"),
            Question(
                lambda s: s.vram_reserved, "reserved memory is {} the allocated memory", least=FRAGMENTED, unit="times"
            ),
        ),
        _in_one_piece,
        "the retries continue with expandable segments",
        lambda s: 0.0,
        (Question(lambda s: s.vram, "{} of the GPU memory used at the peak"),),
        "warning",
    ),
    Cause(
        "vram-pressure",
        "GPU memory is nearly full: the allocator frees and retries",
        (
            Question(lambda s: s.vram, "{} of the GPU memory used at the peak", least=VRAM_FULL),
            Question(
                lambda s: s.alloc_retries,
                "allocator retries: {}",
                least=1,
                unit="count",
            ),
        ),
        _less_vram,
        "the retries continue with a smaller batch",
        lambda s: 0.0,
        (Question(lambda s: s.vram_reserved, "reserved memory is {} the allocated memory", unit="times"),),
        "warning",
    ),
)
"""Each is checked independently; of several with the same id, only the first that holds is reported."""
_DIED = {
    "gpu": ("The run ended because GPU memory ran out", _less_vram, "the run ends the same way with a smaller batch"),
    "ram": ("The run ended because RAM ran out", _less_ram, "the run ends the same way with fewer prefetched batches"),
}


def died(of: str, reason: str) -> Cause:
    """The cause of a run that ran out of memory; `of` and `reason` are `RunEnded.died_of` and `RunEnded.reason`."""
    title, fix, disproof = _DIED[of]
    ended = Question(lambda s: 1.0, reason.replace("{", "(").replace("}", ")"), unit="count")
    return Cause("out-of-memory", title, (ended,), fix, disproof, lambda s: 0.0, severity="critical")
