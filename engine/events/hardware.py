"""Samples of the machine: its GPUs, processors, memory, disks and processes."""

from __future__ import annotations

from msgspec import Struct

from gputrain.engine.events.envelope import Event


class GpuProcess(Struct, frozen=True, omit_defaults=True):
    """A process that holds memory on a GPU."""

    pid: int
    memory: int | None = None
    name: str = ""
    user: str = ""
    ours: bool = False
    hidden: bool = False
    """It lives in another pid namespace (NVML tells the host's pids): whose it is can't be told from here."""


class MigSample(Struct, frozen=True, omit_defaults=True):
    """One MIG instance at one moment. NVML has no utilization for it, GPM on Hopper and newer has activities."""

    name: str
    uuid: str = ""
    gpu_instance: int | None = None
    compute_instance: int | None = None
    cuda_index: int | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    processes: tuple[GpuProcess, ...] = ()
    sm_activity: float | None = None
    """As in `GpuSample`, of the instance's own part of the GPU; so the next three."""
    sm_occupancy: float | None = None
    tensor_activity: float | None = None
    dram_activity: float | None = None


class GpuSample(Struct, frozen=True, omit_defaults=True):
    """One GPU at one moment; every figure may be absent."""

    index: int
    uuid: str = ""
    name: str = ""
    error: str = ""
    """Why the GPU could not be read (``lost``, ``driver not loaded``, ``no answer for 3 s``), else empty."""
    utilization: float | None = None
    """Percent of the last sampling period in which any kernel ran (NVML ``utilization.gpu``)."""
    memory_utilization: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    power: float | None = None
    """Watts."""
    power_limit: float | None = None
    temperature: float | None = None
    """Degrees Celsius."""
    temperature_slowdown: float | None = None
    fan: float | None = None
    sm_clock: int | None = None
    """MHz."""
    sm_clock_max: int | None = None
    memory_clock: int | None = None
    pcie_rx: float | None = None
    pcie_tx: float | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    throttle: tuple[str, ...] = ()
    """Reasons for a lowered clock, in words (``power cap``, ``hardware thermal``)."""
    processes: tuple[GpuProcess, ...] = ()
    cuda_index: int | None = None
    """Its number in CUDA (``cuda:0``) for this run's processes; None: CUDA_VISIBLE_DEVICES hides it."""
    memory_clock_max: int | None = None
    memory_temperature: float | None = None
    encoder: float | None = None
    """Percent of the last sampling period in which the video encoder was busy; so the decoder."""
    decoder: float | None = None
    ecc_corrected: int | None = None
    """Memory errors that were corrected since the driver was loaded."""
    ecc_uncorrected: int | None = None
    nvlink_rx: float | None = None
    nvlink_tx: float | None = None
    sm_activity: float | None = None
    """Share of the cycles in which the multiprocessors had work, 0…1 (GPM, Hopper and newer); so the next three."""
    sm_occupancy: float | None = None
    tensor_activity: float | None = None
    dram_activity: float | None = None
    mig: bool = False
    """The GPU is divided into instances."""
    instances: tuple[MigSample, ...] = ()
    pcie_generation_max: int | None = None
    """What this GPU could have in this machine; so the width in lanes."""
    pcie_width_max: int | None = None


class ProcessSample(Struct, frozen=True, omit_defaults=True):
    """One process at one moment."""

    pid: int
    name: str
    cpu: float | None = None
    """Cores that it used."""
    rss: int | None = None
    threads: int | None = None
    state: str = ""
    """One letter as in ps: R runs, S sleeps, D waits for a disk, Z has ended."""
    user: str = ""
    """Whose it is, of those that are not the run's."""
    role: str = ""
    """What it does in a run: ``supervisor``, ``trainer``, ``worker`` …; empty for any other."""


class DeviceSample(Struct, frozen=True, omit_defaults=True):
    """Traffic of one disk; every figure may be absent."""

    name: str
    """As in ``/proc/diskstats`` (``nvme0n1``)."""
    read_rate: float | None = None
    write_rate: float | None = None
    read_iops: float | None = None
    write_iops: float | None = None
    busy: float | None = None
    """Share of the time in which it had requests, 0…1."""
    read_latency: float | None = None
    """Seconds that a read took, queueing included; None without reads."""
    write_latency: float | None = None
    queue: float | None = None
    """Requests that were in its queue on average."""


class DiskSample(Struct, frozen=True, omit_defaults=True):
    """Traffic of all disks, and of the device that holds the data."""

    read_rate: float | None = None
    write_rate: float | None = None
    read_iops: float | None = None
    write_iops: float | None = None
    device: str = ""
    """The data path's device, where it could be found."""
    device_read_rate: float | None = None
    device_busy: float | None = None
    """Share of the time in which the device had requests, 0…1."""
    filesystem: str = ""
    """Type of the data path's file system (``ext4``, ``overlay``, ``nfs4``)."""
    device_write_rate: float | None = None
    device_read_latency: float | None = None
    """Seconds that a read took, queueing included; None without reads."""
    device_write_latency: float | None = None
    device_queue: float | None = None
    """Requests that were in the device's queue on average."""
    devices: tuple[DeviceSample, ...] = ()
    """Each disk, the data path's device among them; at most 16, the busiest."""


class HardwareSample(Event, frozen=True, tag="hardware"):
    """The machine at one moment."""

    interval: float
    """Seconds since the sample before; rates are means over it."""
    cpu_percent: float | None = None
    """Of all usable cores together, 0…100."""
    per_core: tuple[float, ...] = ()
    usable_cores: float = 0.0
    """min(affinity, cgroup quota); may be a fraction."""
    host_cores: int = 0
    load_1m: float | None = None
    cpu_frequency: float | None = None
    run_cpu: float | None = None
    """Cores that the run's own processes used."""
    foreign_cpu: float | None = None
    """Cores that all other processes used."""
    throttled_share: float | None = None
    """Share of cgroup periods in which the CPU quota ran out."""
    ram_total: int | None = None
    """The memory that the run may use: the host's, or its cgroup's limit."""
    ram_available: int | None = None
    ram_used: int | None = None
    ram_cached: int | None = None
    swap_used: int | None = None
    run_rss: int | None = None
    """Resident memory of the run's processes (shared pages counted once per process)."""
    shm_used: int | None = None
    shm_total: int | None = None
    disk: DiskSample | None = None
    net_rx: float | None = None
    net_tx: float | None = None
    psi_cpu: float | None = None
    """Pressure stall: share of the last 10 s in which some task waited, 0…1."""
    psi_io: float | None = None
    psi_memory: float | None = None
    gpus: tuple[GpuSample, ...] = ()
    gpu_error: str = ""
    """Why there are no GPUs to show (``no NVIDIA driver``), else empty."""
    sample_cost: float | None = None
    """Seconds of CPU time that taking this sample cost."""
    cpu_steal: float | None = None
    """Cores that the hypervisor gave to other machines meanwhile."""
    cpu_temperature: float | None = None
    psi_memory_full: float | None = None
    """Share of the last 10 s in which all tasks waited for memory, 0…1."""
    run_pss: int | None = None
    """Memory of the run's processes, shared pages divided among those who share them."""
    run_read_rate: float | None = None
    """Bytes per second that the run's processes read, from files, pipes and caches."""
    run_cache_hit: float | None = None
    """Share of them that no disk was needed for, 0…1; None while next to nothing is read."""
    processes: tuple[ProcessSample, ...] = ()
    """The run's own, those that use most CPU first; at most 32."""
    other_processes: tuple[ProcessSample, ...] = ()
    """Those of others that use most CPU, the first five; who computes less than 0.05 cores is left out. The monitor
    has more of them, and those that hold most memory."""
