"""Sums that stand in a script's pages, and their differences over a window."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from gputrain.engine.probe import layout
from gputrain.engine.user_script.page_reader import MappedPage


class StepSums(Struct, frozen=True, kw_only=True):
    """Of one process that trains, since it started. Times are in seconds."""

    updates: float = 0.0
    samples: float = 0.0
    wait: float = 0.0
    first_wait: float = 0.0
    wait_squares: float = 0.0
    compute: float = 0.0
    forward: float = 0.0
    seconds: float = 0.0
    skipped: float = 0.0
    backwards: float = 0.0
    device_seconds: float = 0.0
    device_host_seconds: float = 0.0

    def since(self, before: StepSums) -> StepSums:
        """What came after `before`; never less than nothing."""
        return StepSums(
            **{name: max(0.0, getattr(self, name) - getattr(before, name)) for name in self.__struct_fields__}
        )


_STEP_SLOTS = {
    "updates": layout.UPDATES,
    "samples": layout.SAMPLES,
    "wait": layout.WAIT,
    "first_wait": layout.FIRST_WAIT,
    "wait_squares": layout.WAIT_SQUARES,
    "compute": layout.COMPUTE,
    "forward": layout.FORWARD,
    "seconds": layout.STEP_SECONDS,
    "skipped": layout.SKIPPED,
    "backwards": layout.BACKWARDS,
    "device_seconds": layout.DEVICE_SECONDS,
    "device_host_seconds": layout.DEVICE_HOST_SECONDS,
}


def step_sums(page: MappedPage) -> StepSums:
    """The sums of a page now."""
    return StepSums(**{name: page.slots[slot] for name, slot in _STEP_SLOTS.items()})


class WorkerSums(Struct, frozen=True, kw_only=True):
    """Of the workers of one process, since they started; None is what this kernel does not count."""

    workers: int = 0
    samples: float = 0.0
    busy: float = 0.0
    cpu: float = 0.0
    run_delay: float | None = 0.0
    read_chars: float | None = 0.0
    disk_bytes: float | None = 0.0

    def plus(self, other: WorkerSums) -> WorkerSums:
        """Both together."""
        return WorkerSums(
            workers=self.workers + other.workers,
            samples=self.samples + other.samples,
            busy=self.busy + other.busy,
            cpu=self.cpu + other.cpu,
            run_delay=_sum(self.run_delay, other.run_delay),
            read_chars=_sum(self.read_chars, other.read_chars),
            disk_bytes=_sum(self.disk_bytes, other.disk_bytes),
        )


def worker_sums(page: MappedPage) -> WorkerSums:
    """The sums of one worker's page."""
    slots = page.slots

    def counted(slot: int) -> float | None:
        return None if slots[slot] < 0 else slots[slot]

    return WorkerSums(
        workers=1,
        samples=slots[layout.WORKER_SAMPLES],
        busy=slots[layout.BUSY],
        cpu=slots[layout.CPU],
        run_delay=counted(layout.RUN_DELAY),
        read_chars=counted(layout.READ_CHARS),
        disk_bytes=counted(layout.DISK_BYTES),
    )


def total(sums: Iterable[WorkerSums]) -> WorkerSums:
    """All together."""
    found = WorkerSums()
    for one in sums:
        found = found.plus(one)
    return found


def slowest_sample(pages: Iterable[MappedPage]) -> float | None:
    """Seconds of the slowest sample since the last call; None without one. Begins anew."""
    found = 0.0
    for page in pages:
        found = max(found, page.slots[layout.SLOWEST])
        page.slots[layout.SLOWEST] = 0.0
    return found or None


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def read_share(busy: float, waited: float | None, lock: float | None, worked: float) -> float | None:
    """Share of the time `busy` on samples in which the workers waited for neither a core nor a lock.

    `waited`: seconds of `busy` without a core in use or wanted; `lock`: share of the workers' whole time `worked`.
    """
    if not busy or waited is None:
        return None
    return min(1.0, max(0.0, waited - (lock or 0.0) * worked) / busy)


def difference(now: float | None, before: float | None) -> float | None:
    """How much was added; None where it is not counted."""
    return None if now is None or before is None else max(0.0, now - before)
