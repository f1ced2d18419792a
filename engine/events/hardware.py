"""Hardware samples: GPUs, CPU, memory, disks and processes."""

from __future__ import annotations

from msgspec import Struct

from gputrain.engine.events.envelope import Event


class GpuProcess(Struct, frozen=True, omit_defaults=True):
    """A process that uses GPU memory."""

    pid: int
    """Process id."""
    memory: int | None = None
    """Bytes of GPU memory."""
    name: str = ""
    """Name of the program."""
    user: str = ""
    """Its user."""
    ours: bool = False
    """It belongs to this run."""
    hidden: bool = False
    """It is in another pid namespace (NVML reports the host's pids), so its owner is unknown."""


class MigSample(Struct, frozen=True, omit_defaults=True):
    """One MIG instance. NVML reports no utilization for it; GPM (Hopper and newer) reports activities."""

    name: str
    """Name of the instance."""
    uuid: str = ""
    """UUID of the instance."""
    gpu_instance: int | None = None
    """GPU instance id."""
    compute_instance: int | None = None
    """Compute instance id."""
    cuda_index: int | None = None
    """Its number in CUDA for this run; None: not visible."""
    memory_used: int | None = None
    """Bytes."""
    memory_total: int | None = None
    """Bytes."""
    processes: tuple[GpuProcess, ...] = ()
    """Processes that hold its memory."""
    sm_activity: float | None = None
    """As in `GpuSample`, for the instance's part of the GPU; also the next three."""
    sm_occupancy: float | None = None
    """Share of the threads that the SMs could hold, 0…1."""
    tensor_activity: float | None = None
    """Share of cycles in which the tensor cores were active, 0…1."""
    dram_activity: float | None = None
    """Share of cycles in which the memory was read or written, 0…1."""


class GpuSample(Struct, frozen=True, omit_defaults=True):
    """One GPU; every value may be None."""

    index: int
    """NVML index."""
    uuid: str = ""
    """UUID of the GPU."""
    name: str = ""
    """Product name."""
    error: str = ""
    """Why the GPU could not be read (``lost``, ``driver not loaded``, ``no answer for 3 s``); empty if it could."""
    utilization: float | None = None
    """Percent of the last sampling period in which a kernel ran (NVML ``utilization.gpu``)."""
    memory_utilization: float | None = None
    """Percent of the last sampling period in which memory was read or written."""
    memory_used: int | None = None
    """Bytes."""
    memory_total: int | None = None
    """Bytes."""
    power: float | None = None
    """Watts."""
    power_limit: float | None = None
    """Watts."""
    temperature: float | None = None
    """Degrees Celsius."""
    temperature_slowdown: float | None = None
    """Degrees Celsius at which the GPU lowers its clock."""
    fan: float | None = None
    """Requested fan speed in percent."""
    sm_clock: int | None = None
    """MHz."""
    sm_clock_max: int | None = None
    """MHz."""
    memory_clock: int | None = None
    """MHz."""
    pcie_rx: float | None = None
    """Bytes per second to the GPU."""
    pcie_tx: float | None = None
    """Bytes per second from the GPU."""
    pcie_generation: int | None = None
    """PCIe generation of the link now."""
    pcie_width: int | None = None
    """PCIe lanes of the link now."""
    throttle: tuple[str, ...] = ()
    """Reasons for a reduced clock (``power cap``, ``hardware thermal``)."""
    processes: tuple[GpuProcess, ...] = ()
    """Processes that hold its memory."""
    cuda_index: int | None = None
    """Its CUDA device index (``cuda:0``) in the run's processes; None: hidden by CUDA_VISIBLE_DEVICES."""
    memory_clock_max: int | None = None
    """MHz."""
    memory_temperature: float | None = None
    """Degrees Celsius."""
    encoder: float | None = None
    """Percent of the last sampling period in which the video encoder was busy; `decoder` likewise."""
    decoder: float | None = None
    """Percent of the last sampling period in which the video decoder was busy."""
    ecc_corrected: int | None = None
    """Corrected memory errors since the driver was loaded."""
    ecc_uncorrected: int | None = None
    """Memory errors that were not corrected since the driver was loaded."""
    nvlink_rx: float | None = None
    """Bytes per second."""
    nvlink_tx: float | None = None
    """Bytes per second."""
    sm_activity: float | None = None
    """Share of cycles in which the multiprocessors (SM) were active, 0…1 (GPM, Hopper on); also the next three."""
    sm_occupancy: float | None = None
    """Share of the threads that the SMs could hold, 0…1."""
    tensor_activity: float | None = None
    """Share of cycles in which the tensor cores were active, 0…1."""
    dram_activity: float | None = None
    """Share of cycles in which the memory was read or written, 0…1."""
    mig: bool = False
    """The GPU is in MIG mode."""
    instances: tuple[MigSample, ...] = ()
    """Its MIG instances."""
    energy: float | None = None
    """Joules used since the driver was loaded (Volta and newer)."""
    pcie_generation_max: int | None = None
    """The maximum of this GPU in this machine; `pcie_width_max` likewise, in lanes."""
    pcie_width_max: int | None = None
    """Lanes that this GPU could have in this machine."""


class ProcessSample(Struct, frozen=True, omit_defaults=True):
    """One process."""

    pid: int
    """Process id."""
    name: str
    """Name or command."""
    cpu: float | None = None
    """CPU cores used."""
    rss: int | None = None
    """Resident memory in bytes."""
    threads: int | None = None
    """Number of threads."""
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
    """Bytes per second."""
    write_rate: float | None = None
    """Bytes per second."""
    read_iops: float | None = None
    """Reads per second."""
    write_iops: float | None = None
    """Writes per second."""
    busy: float | None = None
    """Share of the time in which it had requests, 0…1."""
    read_latency: float | None = None
    """Mean duration of a read in seconds, queueing included; None without reads."""
    write_latency: float | None = None
    """Seconds that a write took; None without writes."""
    queue: float | None = None
    """Mean queue length."""


class DiskSample(Struct, frozen=True, omit_defaults=True):
    """Traffic of all disks together, and of the device that holds the data."""

    read_rate: float | None = None
    """Bytes per second."""
    write_rate: float | None = None
    """Bytes per second."""
    read_iops: float | None = None
    """Reads per second."""
    write_iops: float | None = None
    """Writes per second."""
    device: str = ""
    """The device of the data path; empty if unknown."""
    device_read_rate: float | None = None
    """Bytes per second."""
    device_busy: float | None = None
    """Share of the time in which the device had requests, 0…1."""
    filesystem: str = ""
    """Type of the data path's file system (``ext4``, ``overlay``, ``nfs4``)."""
    device_write_rate: float | None = None
    """Bytes per second."""
    device_read_latency: float | None = None
    """Mean duration of a read in seconds, queueing included; None without reads."""
    device_write_latency: float | None = None
    """Seconds that a write took; None without writes."""
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
    """Busy percent of each usable core."""
    usable_cores: float = 0.0
    """min(affinity, cgroup quota, Slurm allocation); may be a fraction."""
    host_cores: int = 0
    """Cores of the host."""
    load_1m: float | None = None
    """Load average of the last minute."""
    cpu_frequency: float | None = None
    """MHz."""
    run_cpu: float | None = None
    """Cores used by the run's processes."""
    foreign_cpu: float | None = None
    """Cores used by all other processes."""
    throttled_share: float | None = None
    """Share of cgroup periods in which the CPU quota was exhausted."""
    ram_total: int | None = None
    """The memory limit of the run: the host's memory or the cgroup limit."""
    ram_available: int | None = None
    """Bytes."""
    ram_used: int | None = None
    """Bytes."""
    ram_cached: int | None = None
    """Bytes of page cache."""
    swap_used: int | None = None
    """Bytes."""
    run_rss: int | None = None
    """RSS of the run's processes; shared pages count once per process."""
    shm_used: int | None = None
    """Bytes used in ``/dev/shm``."""
    shm_total: int | None = None
    """Size of ``/dev/shm`` in bytes."""
    disk: DiskSample | None = None
    """Traffic of the disks."""
    net_rx: float | None = None
    """Bytes received per second."""
    net_tx: float | None = None
    """Bytes sent per second."""
    psi_cpu: float | None = None
    """Pressure stall (PSI some): share of the last 10 s in which some task waited, 0…1."""
    psi_io: float | None = None
    """The same for I/O."""
    psi_memory: float | None = None
    """The same for memory."""
    gpus: tuple[GpuSample, ...] = ()
    """One sample per GPU."""
    gpu_error: str = ""
    """Why there are no GPUs (``no NVIDIA driver``); empty if there are."""
    sample_cost: float | None = None
    """CPU seconds that this sample took."""
    cpu_steal: float | None = None
    """CPU steal: cores that the hypervisor gave to other machines."""
    cpu_temperature: float | None = None
    """Degrees Celsius."""
    cpu_power: float | None = None
    """Watts of all CPU packages (RAPL); None where the kernel lets only root read them."""
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
