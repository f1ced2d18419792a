"""Whether the memory that the run may use is nearly gone: RAM, shared memory, the GPU's."""

from __future__ import annotations

from typing import Any

from gputrain.engine.configuration.engine_choice import is_keras
from gputrain.engine.diagnosis.tree import MUCH, Cause, Fix, Question, Severity
from gputrain.engine.diagnosis.windows.signals import Signals

RAM_FULL, RAM_CRITICAL = 0.90, 0.97
SHM_FULL = 0.90
VRAM_FULL = 0.90
FRAGMENTED = 2.0
"""Memory that the allocator holds over what the tensors need, from which the rest is in pieces."""
FEW = 0.30
"""Share of the used memory below which the run is not the one that could give it back."""


def _part_of_run(s: Signals) -> float | None:
    if s.run_memory is None or not s.ram_used or not s.ram_total:
        return None
    return s.run_memory / (s.ram_used * s.ram_total)


def less_memory(s: Signals) -> dict[str, Any]:
    """The mildest change that frees memory: fewer batches ahead, then fewer workers, then smaller batches."""
    prefetch, batch = s.setting("prefetch_factor", 1), s.setting("batch_size", 1)
    if s.workers and prefetch > 1:
        return {"prefetch_factor": prefetch // 2}
    if s.workers > 1:
        return {"num_workers": s.workers // 2}
    return {"batch_size": batch // 2} if batch > 1 else {}


def _less_ram(s: Signals) -> Fix:
    part = _part_of_run(s)
    if part is not None and part < FEW:
        return Fix("Mostly others use it: end or move the other programs.")
    changes = less_memory(s)
    cached = " The cache of images (cache=ram) is part of it." if s.setting("cache", "none") == "ram" else ""
    if "prefetch_factor" in changes:
        return Fix(f"Keep fewer batches ready: prefetch_factor={changes['prefetch_factor']}.{cached}", changes)
    if "num_workers" in changes:
        return Fix(f"Use fewer than {s.workers} workers: each holds batches and memory of its own.{cached}", changes)
    if "batch_size" in changes:
        return Fix(f"Use smaller batches.{cached}", changes)
    return Fix(f"The run is as small as its settings can make it: free memory elsewhere.{cached}")


def _less_shm(s: Signals) -> Fix:
    larger = "Enlarge /dev/shm (docker run --shm-size)"
    if s.setting("dataset", "") == "custom":
        return Fix(f"{larger}, or keep fewer batches ready.", less_memory(s))
    if s.setting("cache", "none") == "ram":
        return Fix(f"{larger}, or keep the images elsewhere: cache=disk.")
    return Fix(f"{larger}, or remove what others left there: the batches of this run lie elsewhere.")


def _less_vram(s: Signals) -> Fix:
    batch = s.setting("batch_size", 1)
    if s.precision == "fp32":
        return Fix("Half precision needs about half: precision=auto.", {"precision": "auto"})
    if not s.setting("gradient_checkpointing", False) and not is_keras(s.settings):
        return Fix(
            "Recompute activations (gradient_checkpointing=true), or use smaller batches.",
            {"gradient_checkpointing": True},
        )
    return Fix("Use smaller batches.", {"batch_size": batch // 2} if batch > 1 else {})


_RUN = Question(lambda s: s.run_memory, "the run's processes hold {}", unit="bytes")
_TOTAL = Question(lambda s: s.ram_total, "there are {}", unit="bytes")


def _ram(severity: Severity, least: float, below: float | None) -> Cause:
    """RAM by what is available under the limit: memory that caches hold is not counted as used."""
    used = Question(lambda s: s.ram_used, "{} of the RAM cannot be had without swapping", least=least, below=below)
    return Cause(
        "ram-pressure",
        "RAM is nearly used up",
        (used,),
        _less_ram,
        "free memory that grows when others end",
        lambda s: s.psi_memory_full or 0.0,
        (_TOTAL, _RUN, Question(lambda s: s.psi_memory_full, "all tasks waited for memory {} of the time")),
        severity,
    )


def _in_one_piece(s: Signals) -> Fix:
    return Fix(
        "More is held than is needed, in pieces that fit nothing: start the run with "
        "PYTORCH_ALLOC_CONF=expandable_segments:True in its environment, unless that is so already."
    )


PRESSURE = (
    _ram("critical", RAM_CRITICAL, None),
    _ram("warning", RAM_FULL + 1e-9, RAM_CRITICAL),
    Cause(
        "ram-pressure",
        "The machine waits for memory",
        (Question(lambda s: s.psi_memory_full, "all tasks waited for memory {} of the time", least=MUCH),),
        _less_ram,
        "as much waiting without this run",
        lambda s: s.psi_memory_full,
        (_TOTAL, _RUN, Question(lambda s: s.ram_used, "{} of the RAM cannot be had without swapping")),
    ),
    Cause(
        "shm-full",
        "The shared memory file system is nearly full",
        (Question(lambda s: s.shm_used, "{} of /dev/shm is used", least=SHM_FULL),),
        _less_shm,
        "the same size without this run",
        lambda s: 0.0,
        severity="warning",
    ),
    Cause(
        "out-of-memory",
        "Batches are computed in parts, as the GPU's memory ran out",
        (Question(lambda s: s.batch_parts, "parts of each batch: {}", least=2, unit="count"),),
        _less_vram,
        "as many parts with a smaller batch",
        lambda s: 0.0,
        (Question(lambda s: s.vram, "{} of its memory used at the peak"),),
        "warning",
    ),
    Cause(
        "vram-pressure",
        "The GPU's memory is in pieces, and is freed and taken again",
        (
            Question(
                lambda s: s.alloc_retries, "times that the allocator had to free memory: {}", least=1, unit="count"
            ),
            Question(lambda s: s.vram_reserved, "{} as much is held as is needed", least=FRAGMENTED, unit="times"),
        ),
        _in_one_piece,
        "as many retries with pieces that grow",
        lambda s: 0.0,
        (Question(lambda s: s.vram, "{} of its memory used at the peak"),),
        "warning",
    ),
    Cause(
        "vram-pressure",
        "The GPU's memory is nearly used up, and is freed and taken again",
        (
            Question(lambda s: s.vram, "{} of its memory used at the peak", least=VRAM_FULL),
            Question(
                lambda s: s.alloc_retries,
                "times that the allocator had to free memory: {}",
                least=1,
                unit="count",
            ),
        ),
        _less_vram,
        "no retries with a smaller batch",
        lambda s: 0.0,
        (Question(lambda s: s.vram_reserved, "{} as much is held as is needed", unit="times"),),
        "warning",
    ),
)
"""Each for itself; of those with one name the first."""
_DIED = {
    "gpu": ("The run died for want of GPU memory", _less_vram, "the same end with a smaller batch"),
    "ram": ("The run died for want of RAM", _less_ram, "the same end with fewer batches ahead"),
}


def died(of: str, reason: str) -> Cause:
    """The cause of a run that ended for want of memory, `of` as in `RunEnded.died_of`; `reason` is its last word."""
    title, fix, disproof = _DIED[of]
    told = Question(lambda s: 1.0, reason.replace("{", "(").replace("}", ")"), unit="count")
    return Cause("out-of-memory", title, (told,), fix, disproof, lambda s: 0.0, severity="critical")
