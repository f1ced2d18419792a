"""How the training goes: windows of steps, the loading of data, epochs, validations and checkpoints."""

from __future__ import annotations

from typing import Literal

from gputrain.engine.events.envelope import Event


class Steps(Event, frozen=True, tag="steps"):
    """A window of training steps (at most ten windows a second). One step is one batch on the device."""

    step: int
    """Steps done since the run's very start, resumed parts included."""
    epoch: int
    """From 0."""
    epoch_step: int
    """Steps done in this epoch."""
    images: int
    """Images trained on since the run's very start."""
    window_steps: int
    window_seconds: float
    images_per_second: float
    loss: float | None
    """Mean training loss of the newest steps that were fetched from the device; None: not fetched in this window."""
    lr: float
    data_wait: float
    """Seconds of the window in which the loop waited for a batch."""
    copy: float | None
    """Seconds of host-to-device copies (CUDA events; None on the CPU, where nothing is copied)."""
    compute: float
    """Seconds of forward, backward and update (CUDA events on a GPU, the clock on the CPU)."""
    other: float
    """Seconds of the window that are none of the above: logging, the loop itself. Checkpoints and validation have
    phases of their own and are in no window."""
    prepare: float | None = None
    """The part of compute that was for changes of images on the device: normalising, mixing and the like."""
    forward: float | None = None
    backward: float | None = None
    update: float | None = None
    """These four make up compute; None in records of older versions."""
    launch_gap: float | None = None
    """Seconds of `other` in which a GPU had nothing to do though no batch was waited for: the host was too slow to
    launch work. None on the CPU."""
    wait_unknown: bool = False
    """A script of the user's own reads no DataLoader: `data_wait` says nothing."""
    first_batch_wait: float = 0.0
    """The part of data_wait that was for the first batch of an epoch."""
    wait_squares: float | None = None
    """Sum of the squares of the steps' waits (s²): how uneven they were; None in records of older versions."""
    exchange: float | None = None
    """Seconds of the window that rank 0 waited for the gradients of other ranks; None where there are none."""
    grad_norm: float | None = None
    loss_scale: float | None = None
    queue_depth: float | None = None
    """Mean number of finished batches that waited for the loop."""
    queue_capacity: int | None = None
    vram_allocated: int | None = None
    vram_reserved: int | None = None
    vram_peak: int | None = None
    alloc_retries: int | None = None
    batch_parts: int | None = None
    """Parts that each batch is computed in, for want of GPU memory; None in records of older versions."""
    bytes_copied: int | None = None
    image_size: int | None = None
    """Side of the images of this window; None in records of older versions."""
    dropped: int = 0
    """Windows that were not reported because the queue to the supervisor was full."""


class RankSteps(Event, frozen=True, tag="rank_steps"):
    """What another rank than 0 did with the time of some steps; rank 0 tells of its own in `Steps`."""

    rank: int
    window_steps: int
    window_seconds: float
    data_wait: float
    """Seconds, as in `Steps`; so the next."""
    compute: float
    exchange: float


class LoaderStats(Event, frozen=True, tag="loader"):
    """Accounting inside the data workers since the last such event."""

    workers: int
    kind: str
    """``processes`` or ``threads`` or ``inline``."""
    seconds: float
    samples: int
    busy: float | None
    """Share of the workers' time that was spent on samples, 0…1."""
    cpu_ratio: float | None
    """CPU time over wall time while working on samples."""
    run_delay: float | None
    """Share of the working time in which a worker was runnable but not running (schedstat)."""
    read_share: float | None
    """Share of the working time that was spent reading files; of a person's own data set, which does not tell, all that
    it waited for but a core or a lock."""
    bytes_read: int | None
    """Bytes of the samples' files; of a person's own data set those that it read by system calls."""
    disk_bytes: int | None
    """Bytes that came from a disk and not from the page cache (``/proc/self/io``)."""
    cache_hits: int | None = None
    """Samples whose image was in the cache; None without a cache."""
    lock_share: float | None = None
    """Share of the looks at working workers that found one waiting for a lock, 0…1; None where nobody may look."""
    slowest: float | None = None
    """Seconds that the slowest sample took; None without samples."""
    slowest_image: str = ""
    bad_images: int = 0
    """Unreadable files that were met for the first time and replaced."""
    bad_examples: tuple[str, ...] = ()
    """Path and reason of the first of them."""
    cache_repaired: int = 0
    """Images that were damaged in the cache and were made again from their files."""


class EpochEnded(Event, frozen=True, tag="epoch_ended"):
    """All training images of an epoch were used."""

    epoch: int
    step: int
    seconds: float
    images_per_second: float
    train_loss: float | None


class Validated(Event, frozen=True, tag="validated"):
    """The model was tried on the validation images."""

    epoch: int
    step: int
    metrics: dict[str, float]
    """``loss``, ``accuracy`` (share of images, 0…1), ``accuracy_top5`` …"""
    metric: str
    """The metric that decides what is best."""
    best: bool
    images: int
    seconds: float


class CheckpointSaved(Event, frozen=True, tag="checkpoint"):
    """A checkpoint is complete on disk."""

    kind: Literal["last", "best", "requested", "final"]
    file: str
    """File name below the run's ``checkpoints`` folder."""
    step: int
    epoch: int
    bytes: int
    seconds: float
    """From its begin until it was complete on disk."""
    held: float | None = None
    """The part of them in which training stood still; None in records of older versions."""
