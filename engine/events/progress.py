"""Progress events: windows of steps, data loading, epochs, validations and checkpoints."""

from __future__ import annotations

from typing import Literal

from gputrain.engine.common.units import Unit
from gputrain.engine.events.envelope import Event


class Steps(Event, frozen=True, tag="steps"):
    """A window of training steps (at most ten windows a second). One step is one batch on the device."""

    step: int
    """Steps done since the first start of the run, resumed parts included."""
    epoch: int
    """From 0."""
    epoch_step: int
    """Steps done in this epoch."""
    images: int
    """Images trained on since the first start of the run; of a script what `unit` names."""
    window_steps: int
    """Steps of this window."""
    window_seconds: float
    """Length of this window."""
    images_per_second: float
    """Training images per second in this window; of a script what `unit` names."""
    loss: float | None
    """Mean loss of the newest steps fetched from the device; None: none fetched in this window."""
    lr: float
    """Learning rate of the newest update."""
    data_wait: float
    """Seconds in which the loop waited for a batch."""
    copy: float | None
    """Seconds of host-to-device copies (CUDA events; None on the CPU, where nothing is copied)."""
    compute: float
    """Seconds of forward, backward and update (CUDA events on a GPU, the clock on the CPU)."""
    other: float
    """Remaining seconds of the window: logging, the loop itself. Checkpoints and validation are in no window."""
    prepare: float | None = None
    """The part of compute for image transforms on the device, such as normalization and mixup."""
    forward: float | None = None
    """Seconds of the forward pass."""
    backward: float | None = None
    """Seconds of the backward pass."""
    update: float | None = None
    """These four make up compute; None in records of older versions."""
    launch_gap: float | None = None
    """Seconds of `other` in which the GPU was idle although a batch was ready: the host launched kernels too slowly.
    None on the CPU."""
    unit: Unit = "images"
    """What `images` and `images_per_second` count."""
    loader_samples: float | None = None
    """Samples that a script's DataLoader gave in this window, 0 if that is unknown; None: `unit` counts them."""
    skipped: int = 0
    """Updates of this window that a script's GradScaler left out: gradients had inf or NaN."""
    validation_batches: int = 0
    """Batches that a script did not train on, so far; they are in no window."""
    validation_seconds: float = 0.0
    """Seconds that they took, so far."""
    wait_unknown: bool = False
    """`data_wait` says nothing: a script of the user's own reads no DataLoader, or not in the thread that trains."""
    epoch_batches: int | None = None
    """Batches of an epoch, as the framework of a user's own script says; None: those of its loader."""
    first_batch_wait: float = 0.0
    """The part of data_wait for the first batch of an epoch."""
    wait_squares: float | None = None
    """Sum of the squared data waits of the steps in s², for their variance; None in records of older versions."""
    exchange: float | None = None
    """Seconds in which rank 0 waited for the gradients of other ranks; None with a single rank."""
    grad_norm: float | None = None
    """Gradient norm before clipping; None without `clip_grad_norm`."""
    loss_scale: float | None = None
    """Scale of the fp16 gradient scaler; None in other precisions."""
    queue_depth: float | None = None
    """Mean number of ready batches in the queue."""
    queue_capacity: int | None = None
    """Batches that the queue can hold."""
    vram_allocated: int | None = None
    """Bytes in tensors."""
    vram_reserved: int | None = None
    """Bytes held by torch's allocator."""
    vram_peak: int | None = None
    """Highest number of bytes in tensors so far."""
    alloc_retries: int | None = None
    """Failed GPU allocations after which torch's allocator freed its cache and retried."""
    batch_parts: int | None = None
    """Number of parts that each batch is split into to fit in GPU memory; None in records of older versions."""
    bytes_copied: int | None = None
    """Bytes copied to the device in this window."""
    image_size: int | None = None
    """Image side in pixels; None in records of older versions."""
    dropped: int = 0
    """Windows that were dropped before this one because the queue to the supervisor was full."""


class RankSteps(Event, frozen=True, tag="rank_steps"):
    """The step times of rank 1 and up; those of rank 0 are in `Steps`."""

    rank: int
    """Number of the rank."""
    window_steps: int
    """Steps of this window."""
    window_seconds: float
    """Length of this window."""
    data_wait: float
    """Seconds, as in `Steps`; also the next two."""
    compute: float
    """Seconds, as in `Steps`."""
    exchange: float
    """Seconds, as in `Steps`."""
    host: str = ""
    """Machine of the rank; empty: that of the record."""
    gpu: int | None = None
    """CUDA device of the rank on its machine; None: the number of the rank."""


class LoaderStats(Event, frozen=True, tag="loader"):
    """Statistics of the data workers since the last such event."""

    workers: int
    """Number of data workers."""
    kind: str
    """``processes`` or ``threads`` or ``inline``."""
    seconds: float
    """Time since the last such event."""
    samples: int
    """Samples made in that time."""
    busy: float | None
    """Share of the workers' time spent on samples, 0…1."""
    cpu_ratio: float | None
    """CPU time divided by wall time while working on samples."""
    run_delay: float | None
    """Share of the working time in which a worker waited for a CPU core (schedstat)."""
    read_share: float | None
    """Share of the working time spent reading files; for a custom data set all waiting except for a core or a lock."""
    bytes_read: int | None
    """Bytes of the samples' files; for a custom data set the bytes read by system calls."""
    disk_bytes: int | None
    """Bytes read from a disk, not from the page cache (``/proc/self/io``)."""
    download_share: float | None = None
    """Share of the working time spent waiting for remote shards, part of `read_share`; None without remote data."""
    downloaded: int | None = None
    """Bytes of remote shards that came in that time; None without remote data."""
    cache_hits: int | None = None
    """Samples read from the image cache; None without a cache."""
    lock_share: float | None = None
    """Share of probes of working workers that found one waiting for a lock, 0…1; None if probing is not permitted."""
    draws: bool = False
    """Making a batch drew from a global random generator; only looked at in a script of the user's own."""
    slowest: float | None = None
    """Duration of the slowest sample in seconds; None without samples."""
    slowest_image: str = ""
    """File of the slowest sample."""
    bad_images: int = 0
    """Number of unreadable files found for the first time and replaced."""
    bad_examples: tuple[str, ...] = ()
    """Path and reason of the first of them."""
    cache_repaired: int = 0
    """Number of damaged images in the cache that were recreated from their files."""


class EpochEnded(Event, frozen=True, tag="epoch_ended"):
    """An epoch of training has ended."""

    epoch: int
    """From 0."""
    step: int
    """Steps done."""
    seconds: float
    """Duration of the epoch."""
    images_per_second: float
    """Mean over the epoch."""
    train_loss: float | None
    """Mean training loss of the epoch."""
    gpu_joules: float | None = None
    """Energy of the GPUs since the end of the previous epoch; the supervisor adds it. None: not measured."""
    cpu_joules: float | None = None
    """The same for the CPU packages."""


class Validated(Event, frozen=True, tag="validated"):
    """A validation has ended."""

    epoch: int
    """From 0."""
    step: int
    """Steps done."""
    metrics: dict[str, float]
    """``loss``, ``accuracy`` (share of images, 0…1), ``accuracy_top5`` …"""
    metric: str
    """The metric that selects the best checkpoint."""
    best: bool
    """It is the best validation so far."""
    images: int
    """Number of validation samples."""
    seconds: float
    """Duration of the validation."""


class CheckpointSaved(Event, frozen=True, tag="checkpoint"):
    """A checkpoint is complete on disk."""

    kind: Literal["last", "best", "requested", "final"]
    """Why it was written."""
    file: str
    """File name in the run's ``checkpoints`` folder."""
    step: int
    """Steps done."""
    epoch: int
    """From 0."""
    bytes: int
    """Size of the file."""
    seconds: float
    """Seconds from the start until it was complete on disk."""
    held: float | None = None
    """Seconds of these in which training was blocked; None in records of older versions."""
