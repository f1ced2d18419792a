"""Hardware samples: GPUs, CPU, memory, disks and processes."""

from __future__ import annotations

from msgspec import Struct

from gputrain.engine.events.envelope import Event


class GpuProcess(Struct, frozen=True, omit_defaults=True):
    """A process that uses GPU memory."""

    pid: int
    memory: int | None = None
    name: str = ""
    user: str = ""
    ours: bool = False
    hidden: bool = False
    """It is in another pid namespace (NVML reports the host's pids), so its owner is unknown."""


class MigSample(Struct, frozen=True, omit_defaults=True):
    """One MIG instance. NVML reports no utilization for it; GPM (Hopper and newer) reports activities."""

    name: str
    uuid: str = ""
    gpu_instance: int | None = None
    compute_instance: int | None = None
    cuda_index: int | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    processes: tuple[GpuProcess, ...] = ()
    sm_activity: float | None = None
    """As in `GpuSample`, for the instance's part of the GPU; also the next three."""
    sm_occupancy: float | None = None
    tensor_activity: float | None = None
    dram_activity: float | None = None


class GpuSample(Struct, frozen=True, omit_defaults=True):
    """One GPU; every value may be None."""

    index: int
    uuid: str = ""
    name: str = ""
    error: str = ""
    """Why the GPU could not be read (``lost``, ``driver not loaded``, ``no answer for 3 s``); empty if it could."""
    utilization: float | None = None
    """Percent of the last sampling period in which a kernel ran (NVML ``utilization.gpu``)."""
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
    """Reasons for a reduced clock (``power cap``, ``hardware thermal``)."""
    processes: tuple[GpuProcess, ...] = ()
    cuda_index: int | None = None
    """Its CUDA device index (``cuda:0``) in the run's processes; None: hidden by CUDA_VISIBLE_DEVICES."""
    memory_clock_max: int | None = None
    memory_temperature: float | None = None
    encoder: float | None = None
    """Percent of the last sampling period in which the video encoder was busy; `decoder` likewise."""
    decoder: float | None = None
    ecc_corrected: int | None = None
    """Corrected memory errors since the driver was loaded."""
    ecc_uncorrected: int | None = None
    nvlink_rx: float | None = None
    nvlink_tx: float | None = None
    sm_activity: float | None = None
    """Share of cycles in which the multiprocessors (SM) were active, 0…1 (GPM, Hopper on); also the next three."""
    sm_occupancy: float | None = None
    tensor_activity: float | None = None
    dram_activity: float | None = None
    mig: bool = False
    """The GPU is in MIG mode."""
    instances: tuple[MigSample, ...] = ()
    pcie_generation_max: int | None = None
    """The maximum of this GPU in this machine; `pcie_width_max` likewise, in lanes."""
    pcie_width_max: int | None = None


class ProcessSample(Struct, frozen=True, omit_defaults=True):
    """One process."""

    pid: int
    name: str
    cpu: float | None = None
    """CPU cores used."""
    rss: int | None = None
    threads: int | None = None
    state: str = ""
    """State letter as in ps: R running, S sleeping, D waiting for a disk, Z ended."""
    user: str = ""
    """The owner, for processes outside the run."""
    role: str = ""
    """Role in a run: ``supervisor``, ``trainer``, ``worker`` …; empty outside a run."""


class DeviceSample(Struct, frozen=True, omit_defaults=True):
    """Traffic of one disk; every value may be None."""

    name: str
    """As in ``/proc/diskstats`` (``nvme0n1``)."""
    read_rate: float | None = None
    write_rate: float | None = None
    read_iops: float | None = None
    write_iops: float | None = None
    busy: float | None = None
    """Share of the time in which it had requests, 0…1."""
    read_latency: float | None = None
    """Mean duration of a read in seconds, queueing included; None without reads."""
    write_latency: float | None = None
    queue: float | None = None
    """Mean queue length."""


class DiskSample(Struct, frozen=True, omit_defaults=True):
    """Traffic of all disks together, and of the device that holds the data."""

    read_rate: float | None = None
    write_rate: float | None = None
    read_iops: float | None = None
    write_iops: float | None = None
    device: str = ""
    """The device of the data path; empty if unknown."""
    device_read_rate: float | None = None
    device_busy: float | None = None
    """Share of the time in which the device had requests, 0…1."""
    filesystem: str = ""
    """Type of the data path's file system (``ext4``, ``overlay``, ``nfs4``)."""
    device_write_rate: float | None = None
    device_read_latency: float | None = None
    """Mean duration of a read in seconds, queueing included; None without reads."""
    device_write_latency: float | None = None
    device_queue: float | None = None
    """Mean queue length of the device."""
    devices: tuple[DeviceSample, ...] = ()
    """The busiest disks, at most 16, with the data path's device."""


class HardwareSample(Event, frozen=True, tag="hardware"):
    """One sample of the machine."""

    interval: float
    """Seconds since the previous sample; rates are means over this time."""
    cpu_percent: float | None = None
    """Utilization of all usable cores together, 0…100."""
    per_core: tuple[float, ...] = ()
    usable_cores: float = 0.0
    """min(affinity, cgroup quota, Slurm allocation); may be a fraction."""
    host_cores: int = 0
    load_1m: float | None = None
    cpu_frequency: float | None = None
    run_cpu: float | None = None
    """Cores used by the run's processes."""
    foreign_cpu: float | None = None
    """Cores used by all other processes."""
    throttled_share: float | None = None
    """Share of cgroup periods in which the CPU quota was exhausted."""
    ram_total: int | None = None
    """The memory limit of the run: the host's memory or the cgroup limit."""
    ram_available: int | None = None
    ram_used: int | None = None
    ram_cached: int | None = None
    swap_used: int | None = None
    run_rss: int | None = None
    """RSS of the run's processes; shared pages count once per process."""
    shm_used: int | None = None
    shm_total: int | None = None
    disk: DiskSample | None = None
    net_rx: float | None = None
    net_tx: float | None = None
    psi_cpu: float | None = None
    """Pressure stall (PSI some): share of the last 10 s in which some task waited, 0…1."""
    psi_io: float | None = None
    psi_memory: float | None = None
    gpus: tuple[GpuSample, ...] = ()
    gpu_error: str = ""
    """Why there are no GPUs (``no NVIDIA driver``); empty if there are."""
    sample_cost: float | None = None
    """CPU seconds that this sample took."""
    cpu_steal: float | None = None
    """CPU steal: cores that the hypervisor gave to other machines."""
    cpu_temperature: float | None = None
    psi_memory_full: float | None = None
    """Pressure stall (PSI full): share of the last 10 s in which all tasks waited for memory, 0…1."""
    run_pss: int | None = None
    """PSS of the run's processes: shared pages are divided among the processes that share them."""
    run_read_rate: float | None = None
    """Bytes per second read by the run's processes: files, pipes and page cache."""
    run_cache_hit: float | None = None
    """Share of these from the page cache, 0…1; None while almost nothing is read."""
    processes: tuple[ProcessSample, ...] = ()
    """Processes of the run, by CPU use; at most 32."""
    other_processes: tuple[ProcessSample, ...] = ()
    """The five other processes that use most CPU, at least 0.05 cores. The monitor lists more, and those that use most
    memory."""
