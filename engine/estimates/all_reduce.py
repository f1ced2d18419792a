"""Time of the gradient all-reduce among ranks, and the part of it that the backward pass does not hide. Pure.

The model is the ring all-reduce: each rank sends 2 (N - 1) / N of the bytes over the slowest link of the ring, in
2 (N - 1) steps (Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations";
nccl-tests computes its bus bandwidth by the same formula). DistributedDataParallel sends gradients in buckets while the
backward pass goes on (Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel Training"): a
bucket is sent once its gradients are complete and the one before has been sent.

A ring through several machines enters and leaves each of them once, so that its slowest link is that between machines.
NCCL also uses trees and NVLink SHARP, which are faster with many ranks: the ring is a cautious model of many machines.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from gputrain.engine.common.units import MIB

FIRST_BUCKET, BUCKET = MIB, 25 * MIB
"""Bytes of gradients in DistributedDataParallel's first bucket, and in each of the others (its defaults)."""
BACKWARD_SHARE = 2 / 3
"""Part of a training step that is the backward pass: it computes about twice as much as the forward pass."""
MACHINE_LATENCY, NETWORK_LATENCY = 10e-6, 50e-6
"""Seconds of one step of the ring beside the transfer: within a machine, and between machines. Assumed."""


class Exchange(Struct, frozen=True):
    """The all-reduce of one update."""

    seconds: float
    """Time on the links."""
    exposed: float
    """The part of it after the end of the backward pass, in seconds."""

    @property
    def overlap(self) -> float:
        """Share of the all-reduce that the backward pass hides, 0…1."""
        return 1 - self.exposed / self.seconds if self.seconds > 0 else 0.0


class Link(Struct, frozen=True):
    """The slowest link of the ring."""

    bytes_per_second: float
    latency: float


def ring_seconds(count: float, ranks: int, link: Link) -> float:
    """Seconds of one ring all-reduce of `count` bytes among `ranks` ranks; 0 for a single one."""
    if ranks <= 1:
        return 0.0
    return 2 * (ranks - 1) * (count / ranks / link.bytes_per_second + link.latency)


def buckets(gradient_bytes: int, bucket: int = BUCKET) -> list[int]:
    """Bytes of gradients in each bucket of DistributedDataParallel, in the order in which they are sent.

    Only with the default size the first one is smaller than the others.
    """
    first = min(FIRST_BUCKET if bucket == BUCKET else bucket, gradient_bytes)
    rest, last = divmod(gradient_bytes - first, bucket)
    return [first, *([bucket] * rest), *([last] if last else [])]


def exchange(sizes: Sequence[int], ranks: int, link: Link, backward: float, sent: float = 1.0) -> Exchange:
    """The all-reduce of gradients in buckets of `sizes` bytes during a backward pass of `backward` seconds.

    `sent`: bytes on the link for each byte of gradients, 0.5 with bf16. `backward` 0: nothing overlaps.
    """
    whole, ready, free, total = max(1, sum(sizes)), 0, 0.0, 0.0
    for count in sizes:
        ready += count
        takes = ring_seconds(count * sent, ranks, link)
        # Gradients become ready at an even pace in the backward pass.
        free = max(free, backward * ready / whole) + takes
        total += takes
    return Exchange(total, max(0.0, free - backward))
