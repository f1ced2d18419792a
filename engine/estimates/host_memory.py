"""Estimate of a run's host memory (RAM): trainer, workers, batch buffer, image cache. Pure functions.

Sizes are in bytes. `tests/engine/estimates/test_host_memory.py` reproduces the numbers of the A10G guide (ResNet-50 on
an A10G with 16 cores and 62 GB).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from gputrain.engine.common.units import GIB, MIB, size
from gputrain.engine.configuration import engine_choice
from gputrain.engine.estimates import cached_image_size

MAX_THREADS = 8
"""Number of workers up to which ``loader: auto`` uses threads, as in `gputrain.engine.training.loader.make_loader`."""

FLOAT32_OVERHEAD = 230e6 / 154_140_672
"""Memory of a float32 batch in the worker processes of a plain DataLoader over its tensor's size (the A10G guide: 230
MB for a tensor of 154)."""

TRAINER_BYTES_CPU = 700 * MIB
"""A process with torch and torchvision imported (measured: 690 MiB unique memory, torch 2.15 on Linux)."""
TRAINER_BYTES_CUDA = 2 * GIB
"""The same with CUDA's libraries and host buffers (the A10G guide: "PyTorch overhead ~2 GB")."""
TRAINER_BYTES_TENSORFLOW = 650 * MIB
"""A process with TensorFlow and Keras imported and MobileNetV2 built (measured: 650 MiB, TensorFlow 2.21)."""
WORKER_PROCESS_BYTES = 292 * MIB
"""Unique memory of each worker process after importing torch (measured, torch 2.15 on Linux)."""

CACHE_SHARE = 0.6
"""Largest share of the available memory for a cache, as in `gputrain.engine.training.cache.cache_capacity`."""
SHM_SHARE = 0.9
"""Largest share of the free space in ``/dev/shm`` for a cache in memory, as in the same module."""
UNCACHED = frozenset({"custom", "cifar10"})
"""Data sets without an image cache: custom ones, and one that is in memory anyway."""
LEAST_CACHED = 0.01
"""Share of the images below which no cache is made, as in the same module."""


class Part(Struct, frozen=True):
    """One entry of a budget."""

    name: str
    bytes: int
    note: str = ""


class DataFacts(Struct, frozen=True):
    """Size of the data set, known before it is read."""

    train_images: int
    val_images: int = 0
    file_bytes: int | None = None
    """Bytes of all image files together."""
    short_side: float | None = None
    """Mean short side of the training images in pixels; None: not measured."""
    group: int = 1
    """Images per sample: several for a clip, else 1. batch_size counts samples."""
    skipped: tuple[tuple[str, int], ...] = ()
    """Files and folders that are no images, by kind, with their numbers."""
    skipped_texts: tuple[str, ...] = ()
    """All of `skipped` with an example of each kind."""
    folder_warnings: tuple[str, ...] = ()
    """What the folders hold that is probably not meant, with the remedy."""


class CacheRoom(Struct, frozen=True):
    """The memory that a cache in memory needs, and the limit for it."""

    needed: int
    """Bytes for all images."""
    allowed: int
    bound: Literal["RAM", "shm", "cache_gib"]
    """What sets the limit."""

    @property
    def share(self) -> float:
        """Share of the images that are kept."""
        return min(1.0, self.allowed / self.needed)


class RamBudget(Struct, frozen=True):
    """Host memory of one run."""

    batch_bytes: int
    """One buffered batch: uint8, or float32 for a custom data set."""
    batch_bytes_float32: int
    """The same batch as float32, as most training scripts buffer it."""
    batches: int
    """Largest number of buffered batches: workers × prefetch_factor × ranks."""
    buffer: int
    buffer_float32: int
    """Size of the buffer as float32 in a plain DataLoader, its overhead included."""
    parts: tuple[Part, ...]
    total: int
    limit: int
    """The host's memory or the cgroup limit."""
    cache: CacheRoom | None = None
    """None without a cache in memory, or when its size is unknown."""


def batch_bytes(values: Mapping[str, Any], bytes_per_value: int) -> int:
    """Bytes of one batch of RGB images: batch × 3 × side² × `bytes_per_value` (1: uint8, 4: float32)."""
    images: int = values["batch_size"] * images_per_sample(values)
    side: int = values["image_size"]
    return images * 3 * side * side * bytes_per_value


def images_per_sample(values: Mapping[str, Any]) -> int:
    """Images of one sample; a clip is assumed to have both streams."""
    return 2 * int(values["clip_frames"]) if values["dataset"] == "clips" else 1


def value_bytes(values: Mapping[str, Any]) -> int:
    """Bytes per value of a buffered image: 1 (uint8), or 4 (float32) for a custom data set."""
    return 4 if values["dataset"] == "custom" else 1


def kind_of(values: Mapping[str, Any]) -> str:
    """The type of the buffered values: ``uint8`` or ``float32``."""
    return "float32" if value_bytes(values) == 4 else "uint8"


def buffered_batches(values: Mapping[str, Any]) -> int:
    """Largest number of buffered batches over all ranks; one per rank without workers."""
    workers: int = values["num_workers"]
    prefetch: int = values["prefetch_factor"]
    ranks: int = values["devices"]
    return max(1, workers * prefetch) * ranks


def uses_processes(values: Mapping[str, Any]) -> bool:
    """True when the workers will be processes. Their batches are in a memfd, which ``/dev/shm`` does not limit."""
    workers: int = values["num_workers"]
    kind: str = values["loader"]
    return (
        not engine_choice.is_keras(values)
        and workers > 0
        and (kind == "processes" or (kind == "auto" and workers > MAX_THREADS))
    )


def batches_in_shm(values: Mapping[str, Any]) -> bool:
    """True when batches are in ``/dev/shm``: those of a custom data set come through torch's DataLoader."""
    return bool(values["dataset"] == "custom" and values["num_workers"])


def ram_budget(
    values: Mapping[str, Any],
    *,
    limit: int,
    in_use: int,
    cuda: bool,
    facts: DataFacts | None = None,
    shm_free: int | None = None,
    gpu_bytes: int | None = None,
) -> RamBudget:
    """Host memory of a run with the settings `values`, in bytes.

    `in_use` is already in use, `shm_free` can be written to ``/dev/shm`` (None: unlimited). `gpu_bytes` is the GPU's
    part of a GPU that uses RAM (unified memory); None for one with memory of its own, and where the part is unknown.
    """
    own, float32 = batch_bytes(values, value_bytes(values)), batch_bytes(values, 4)
    batches, ranks = buffered_batches(values), values["devices"]
    each = f"{ranks} ranks × " if ranks > 1 else ""
    parts = [
        Part("in use now", in_use, "the system and other programs"),
        _trainer(values, cuda),
        Part(
            "batch buffer",
            own * batches,
            f"{each}{_counted(values)} × {size(own)} ({kind_of(values)})",
        ),
    ]
    if uses_processes(values):
        workers: int = values["num_workers"] * ranks
        parts.append(Part("worker processes", workers * WORKER_PROCESS_BYTES, f"{size(WORKER_PROCESS_BYTES)} each"))
    if gpu_bytes is not None:
        parts.append(Part("GPU memory", gpu_bytes, "unified memory: the GPU uses RAM"))
    cache = _cache_room(values, facts, max(0, limit - in_use - (gpu_bytes or 0)), shm_free)
    if cache is not None:
        note = f"{cache.share:.0%} of the images, form {values['cache_form']}"
        parts.append(Part("image cache", int(cache.share * cache.needed), note))
    return RamBudget(
        batch_bytes=own,
        batch_bytes_float32=float32,
        batches=batches,
        buffer=own * batches,
        buffer_float32=int(float32 * batches * FLOAT32_OVERHEAD),
        parts=tuple(parts),
        total=sum(part.bytes for part in parts),
        limit=limit,
        cache=cache,
    )


def _counted(values: Mapping[str, Any]) -> str:
    """The number of buffered batches of one rank as text: ``4 workers × 2 batches``, or the one batch in use."""
    workers, prefetch = values["num_workers"], values["prefetch_factor"]
    if not workers:
        return "no workers, 1 batch"
    return f"{workers} worker{'s' if workers > 1 else ''} × {prefetch} batch{'es' if prefetch > 1 else ''}"


def _trainer(values: Mapping[str, Any], cuda: bool) -> Part:
    ranks: int = values["devices"]
    each = f"{ranks} ranks × " if ranks > 1 else ""
    if engine_choice.is_keras(values):
        # Not measured with CUDA's libraries: an allowance.
        return Part("trainer", TRAINER_BYTES_CUDA if cuda else TRAINER_BYTES_TENSORFLOW, "TensorFlow and its libraries")
    one = TRAINER_BYTES_CUDA if cuda else TRAINER_BYTES_CPU
    return Part("trainer", one * ranks, f"{each}torch and its libraries")


def cache_room(available: int, shm_free: int | None) -> int:
    """Bytes that a cache in memory may take: limited by `available` RAM and ``/dev/shm`` (None: unlimited)."""
    allowed = available * CACHE_SHARE
    return int(allowed if shm_free is None else min(allowed, shm_free * SHM_SHARE))


def _cache_room(
    values: Mapping[str, Any], facts: DataFacts | None, available: int, shm_free: int | None
) -> CacheRoom | None:
    """As the cache itself computes it; it keeps some of the images where all are too many."""
    cached = values["cache"] == "ram" and values["dataset"] not in UNCACHED
    needed = _cache_bytes(values, facts) if cached else None
    if not needed:
        return None
    allowed = cache_room(available, shm_free)
    if 0 < values["cache_gib"] * GIB < allowed:
        return CacheRoom(needed, int(values["cache_gib"] * GIB), "cache_gib")
    return CacheRoom(needed, allowed, "RAM" if allowed == cache_room(available, None) else "shm")


def _cache_bytes(values: Mapping[str, Any], facts: DataFacts | None) -> int | None:
    """Bytes of all images in the cache; None where the number of images is unknown."""
    if facts is None or values["cache_form"] == "jpeg":
        return facts.file_bytes if facts else None
    # Decoded images with the aspect ratio 4:3 of most photographs; none is stored larger than its file.
    most = facts.short_side or math.inf
    train, val = (min(most, cached_image_size.resolution(values, train=train)) for train in (True, False))
    return round((facts.train_images * train**2 + facts.val_images * val**2) * 3 * 4 / 3)
