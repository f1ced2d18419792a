"""Signals of a run: means and shares over a window of its events, and values derived from them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gputrain.engine.common.units import Unit
from gputrain.engine.events import TraceSummary, Tuned

FULL_CPU = 92.0
"""CPU use in percent of the usable cores from which no worker finds an idle core."""
_SAME_CORE = 0.05


class Signals(Struct, frozen=True, kw_only=True):
    """One window. Shares are 0…1 of the time spent on steps; None: not measured."""

    seconds: float = 0.0
    """Time on steps in the window, in seconds."""
    wait: float
    """Share in which the loop waited for a batch."""
    first_wait: float = 0.0
    """The part of `wait` that was for the first batch of an epoch."""
    compute: float
    copy: float | None = None
    """Host-to-device copies; they may overlap with computing."""
    other: float = 0.0
    launch_gap: float | None = None
    """The part of `other` in which the GPU was idle."""
    wait_cv: float | None = None
    """Standard deviation over mean of the steps' waits."""
    step_seconds: float | None = None
    """Mean seconds of a step, waiting included."""
    rate: float | None = None
    """Images per second of one rank; of a script what `unit` names."""
    unit: Unit = "images"
    ranks: int = 1
    exchange: float | None = None
    """Share in which rank 0 waited for the gradient all-reduce; this and the next four are None with one rank."""
    least_exchange: float | None = None
    """The same of the rank that waited least."""
    gradient_bytes: int | None = None
    """Bytes of all gradients as they are sent; None: the model is not known."""
    device_name: str = ""
    slowest_rank: int | None = None
    rank_skew: float | None = None
    """Extra time of the slowest rank for a step, as a share of the step."""
    late_by_data: float | None = None
    """The part of that extra time spent waiting for data, 0…1."""
    saving: float = 0.0
    """Share of the wall time for checkpoints; `validating` likewise."""
    validating: float = 0.0
    epoch: int = 0
    settings: Mapping[str, Any] = {}
    tried: tuple[Tuned, ...] = ()
    """Results of live changes in this run, the newest last."""
    trace: TraceSummary | None = None
    """The newest trace with the present settings, if somebody asked for one."""
    on_gpu: bool = False
    precision: str = ""
    capability: float | None = None
    """CUDA compute capability, 8.6."""
    workers: int = 0
    kind: str = ""
    """Kind of the workers: ``processes``, ``threads`` or ``inline``."""
    sample_rate: float | None = None
    """Samples per second that the workers made, in `unit`."""
    busy: float | None = None
    """Share of the workers' time spent on samples. The next four are shares of that working time."""
    cpu_ratio: float | None = None
    run_delay: float | None = None
    read_share: float | None = None
    download_share: float | None = None
    """The part of `read_share` that was for remote shards to arrive."""
    lock_share: float | None = None
    download_rate: float | None = None
    """Bytes per second that came of remote shards; None for local data."""
    from_disk: float | None = None
    """Share of the bytes read that came from a disk and not from the page cache."""
    data_bytes: int | None = None
    """Bytes of the files of one epoch, extrapolated from those read so far."""
    bytes_per_sample: float | None = None
    """Bytes that were read for a sample, from the page cache or not."""
    slowest: float | None = None
    """Seconds of the slowest sample; `slowest_image` is its file."""
    slowest_image: str = ""
    usable_cores: float | None = None
    host_cores: int | None = None
    affinity: int | None = None
    """Cores that the affinity mask allows."""
    cpu: float | None = None
    """Percent of the usable cores."""
    run_cpu: float | None = None
    """Cores that the run used."""
    foreign_cpu: float | None = None
    """Cores that other programs used."""
    cpu_neighbours: tuple[str, ...] = ()
    """Commands of the other programs that use most CPU."""
    throttled: float | None = None
    psi_io: float | None = None
    psi_memory_full: float | None = None
    ram_used: float | None = None
    """Used share of the memory that the run may use, 0…1."""
    ram_total: int | None = None
    run_memory: int | None = None
    """Bytes of the run's processes."""
    shm_used: float | None = None
    """Used share of ``/dev/shm``."""
    utilization: float | None = None
    """Utilization of the run's GPU in percent; None for a MIG instance and on the CPU."""
    sm_activity: float | None = None
    tensor_activity: float | None = None
    vram: float | None = None
    """Peak used share of the GPU's memory."""
    vram_reserved: float | None = None
    """Reserved over allocated memory of the caching allocator."""
    batch_parts: int | None = None
    """Parts into which each batch is split, after GPU memory ran out."""
    alloc_retries: int | None = None
    """Allocator retries in the window."""
    clock: float | None = None
    """SM clock of the GPU over its maximum."""
    slowed_by: tuple[str, ...] = ()
    """Throttle reasons that held in half of the window or more."""
    gpu_neighbours: tuple[str, ...] = ()
    """Other programs on the run's GPU."""

    def reverted_trial(self, changes: Mapping[str, Any]) -> Tuned | None:
        """The newest trial of the same changes that was reverted; None without one."""
        found = (one for one in reversed(self.tried) if one.verdict == "reverted" and one.changes == changes)
        return next(found, None)

    @property
    def workers_gain(self) -> float | None:
        """Measured over predicted gain when more workers were tried last; None: not tried."""
        for one in reversed(self.tried):
            more = one.changes.get("num_workers", 0) > one.was.get("num_workers", 0)
            promise = one.prediction
            if not more or promise is None or promise.low is None or promise.high is None:
                continue
            if one.before is None or one.after is None:
                continue
            promised = (promise.low + promise.high) / 2 - one.before
            if promised > 0:
                return max(0.0, one.after - one.before) / promised
        return None

    @property
    def link_rate(self) -> float | None:
        """Bytes per second that the gradients' ring all-reduce reaches on its slowest link, at most.

        The backward pass may hide a part of it; None where the exchange takes no time or the model is not known.
        """
        if not self.gradient_bytes or not self.least_exchange or not self.step_seconds or self.ranks < 2:
            return None
        batches: int = self.setting("accumulation_steps", 1)
        seconds = self.least_exchange * self.step_seconds * batches
        return 2 * (self.ranks - 1) / self.ranks * self.gradient_bytes / seconds

    def setting(self, name: str, default: Any) -> Any:
        """The value of a setting of the run; `default` where the record lacks it."""
        return self.settings.get(name, default)

    @property
    def idle_cores(self) -> float | None:
        """Idle usable cores."""
        if self.cpu is None or self.usable_cores is None:
            return None
        return max(0.0, self.usable_cores * (1 - self.cpu / 100))

    @property
    def foreign_share(self) -> float | None:
        """Share of the usable cores that other programs keep busy."""
        if self.foreign_cpu is None or not self.usable_cores:
            return None
        return self.foreign_cpu / self.usable_cores

    @property
    def core_wait(self) -> float | None:
        """`run_delay`. Where the kernel does not report it: 0 while cores are idle, None while the CPU is full.

        With a full CPU, waiting for a core looks the same as waiting for a file or a lock.
        """
        if self.run_delay is not None or self.cpu is None:
            return self.run_delay
        return 0.0 if self.cpu < FULL_CPU else None

    @property
    def affinity_share(self) -> float | None:
        """Share of the host's cores that the affinity mask allows."""
        if not self.affinity or not self.host_cores:
            return None
        return self.affinity / self.host_cores

    @property
    def workers_per_core(self) -> float | None:
        """Workers over usable cores."""
        return self.workers * self.ranks / self.usable_cores if self.usable_cores else None

    @property
    def first_part(self) -> float:
        """The part of the waiting that was for the first batch of an epoch, 0…1."""
        return self.first_wait / self.wait if self.wait > 0 else 0.0

    @property
    def read_wait(self) -> float | None:
        """Share of the workers' time spent waiting for reads, without copying from the page cache."""
        if self.read_share is None:
            return None
        if self.cpu_ratio is None:
            # Waiting and copying cannot be told apart; no bytes from the disk means copying only.
            return 0.0 if self.from_disk is not None and self.from_disk < _SAME_CORE else self.read_share
        if self.core_wait is None:
            return None
        return max(0.0, min(self.read_share, 1 - self.cpu_ratio - self.core_wait))

    @property
    def slowness(self) -> float | None:
        """Slowest over mean time of a sample."""
        per_sample = self.seconds_per_sample
        return self.slowest / per_sample if self.slowest is not None and per_sample else None

    @property
    def seconds_per_sample(self) -> float | None:
        """Wall time that a worker spends on a sample, in seconds."""
        if self.busy is None or not self.sample_rate:
            return None
        return max(1, self.workers) * self.busy / self.sample_rate

    @property
    def device_rate(self) -> float | None:
        """Images per second that the device would process without waiting for data."""
        return None if self.rate is None else self.rate / max(0.01, 1 - self.wait)

    @property
    def exposed_copy(self) -> float | None:
        """Share of the time in which a copy ran and no kernel did."""
        return None if self.copy is None else max(0.0, min(self.copy, 1 - self.wait - self.compute))

    @property
    def gap(self) -> float:
        """Share of the time in which the device was idle although a batch was ready."""
        return self.other if self.launch_gap is None else self.launch_gap

    @property
    def own_work(self) -> float | None:
        """Share of the workers' time left after waiting for a core, for reads and for locks."""
        if self.busy is None or self.core_wait is None:
            return None
        return max(0.0, 1 - self.core_wait - (self.read_wait or 0.0) - (self.lock_share or 0.0))

    @property
    def unnamed_cores(self) -> float | None:
        """Cores that the run used beyond its workers' own threads and one core of the trainer."""
        if self.run_cpu is None or self.cpu_ratio is None or self.busy is None:
            return None
        named = max(1, self.workers) * self.busy * self.cpu_ratio + 1.0
        return max(0.0, self.run_cpu - named * self.ranks)

    @property
    def free_cores(self) -> float | None:
        """Cores per rank that workers can use: usable cores less those of other programs and of the rest of the run."""
        if self.usable_cores is None or self.run_cpu is None or self.cpu_ratio is None or self.busy is None:
            return None
        by_workers = max(1, self.workers) * self.busy * self.cpu_ratio
        beside = max(0.0, self.run_cpu / self.ranks - by_workers)
        return max(0.0, (self.usable_cores - (self.foreign_cpu or 0.0)) / self.ranks - beside)
