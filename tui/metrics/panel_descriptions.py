"""Help texts for panel values that have no levels and no curve; the others are in `metrics.metric_lookup`."""

from __future__ import annotations

from typing import NamedTuple


class MetricDescription(NamedTuple):
    """The help text of one value."""

    panel: str
    title: str
    help: str
    source: str
    advice: str = ""


PANEL_METRICS = (
    MetricDescription(
        "gpu",
        "SM clock",
        "Current and maximum clock of the GPU's multiprocessors.",
        "NVML",
        "near the maximum under load, unless the power cap limits it",
    ),
    MetricDescription("gpu", "fan", "Requested fan speed. Passively cooled server cards have no fan.", "NVML"),
    MetricDescription(
        "gpu",
        "PCIe",
        "PCIe traffic to (↓) and from (↑) the GPU, sampled over a fraction of a second.",
        "NVML, one GPU at a time, because the call is slow",
        "far below the limit of the link: about 25 GB/s for PCIe 4.0 x16",
    ),
    MetricDescription(
        "gpu",
        "also used by",
        "Users of other programs with memory on this GPU. They slow the run down while they compute.",
        "NVML's list of processes, and /proc",
        "nobody",
    ),
    MetricDescription(
        "gpu",
        "activity",
        "Shares of time in which multiprocessors (SM), tensor cores and memory (DRAM) were active, and the share of "
        "resident warps (occupancy). Utilization says only that some kernel ran.",
        "NVML's performance monitoring (GPM), Hopper and newer",
        "tensor cores active in mixed precision",
    ),
    MetricDescription(
        "gpu",
        "memory clock, busy",
        "Current and maximum clock of the GPU memory, the share of time in which it was read or written, and its "
        "temperature.",
        "NVML",
    ),
    MetricDescription(
        "gpu",
        "slows at",
        "The temperature at which this card lowers its clock. The value turns amber 10 °C below it, HOT above it.",
        "NVML",
    ),
    MetricDescription(
        "gpu",
        "link",
        "Generation and lanes of the PCIe link, and NVLink traffic. A warning shows a link below its maximum; the "
        "generation counts only under load, because idle GPUs lower it.",
        "NVML",
        "all lanes; otherwise the card is badly seated or shares its slot",
    ),
    MetricDescription(
        "gpu",
        "ECC",
        "Memory errors since the driver was loaded. Corrected errors are harmless; uncorrected ones corrupt results or "
        "end the run.",
        "NVML",
        "0 uncorrected; otherwise have the card checked",
    ),
    MetricDescription(
        "gpu", "video", "Utilization of the video encoder and decoder.", "NVML", "0 %, unless the data is video"
    ),
    MetricDescription(
        "gpu",
        "MIG",
        "MIG instances of the GPU, each with memory, activity and CUDA index. NVML reports no utilization for them.",
        "NVML; activity from GPM, Hopper and newer",
    ),
    MetricDescription(
        "cpu", "cores", "Use of each available core; in a narrow panel the maximum of neighboring cores.", "/proc/stat"
    ),
    MetricDescription(
        "cpu",
        "this run, others",
        "Cores used by the processes of the run, and by all others of the machine or container.",
        "/proc of the run's process tree; others: total minus the run",
        "others near 0: they take cores from the workers",
    ),
    MetricDescription(
        "cpu",
        "load",
        "Load average over one minute: running and waiting processes of the whole host.",
        "/proc/loadavg",
        "below the number of cores",
    ),
    *(
        MetricDescription(
            panel,
            "pressure",
            f"Pressure (PSI): share of the last ten seconds in which some task waited for {what}.",
            f"/proc/pressure/{name} (PSI), or the cgroup's",
            advice,
        )
        for panel, what, name, advice in (
            ("cpu", "a free core", "cpu", "near 0 %; otherwise more processes want to run than there are cores"),
            ("ram", "memory to be freed", "memory", "0 %; otherwise the kernel reclaims pages that are still needed"),
        )
    ),
    MetricDescription(
        "cpu",
        "throttled",
        "Share of scheduler periods in which the container had used up its CPU quota.",
        "the cgroup's nr_throttled",
        "0 %; otherwise use fewer workers or a larger quota",
    ),
    MetricDescription(
        "cpu",
        "stolen",
        "Steal time: cores that the hypervisor gave to other virtual machines.",
        "/proc/stat",
        "nothing",
    ),
    MetricDescription(
        "cpu", "GHz, °C", "Mean clock of the available cores, and the CPU temperature.", "cpufreq and hwmon in /sys"
    ),
    MetricDescription(
        "ram",
        "this run",
        "Memory of the run's processes. Shared pages count once (PSS); if PSS is unavailable, once per process (RSS).",
        "smaps_rollup in /proc, otherwise RSS",
    ),
    MetricDescription(
        "ram",
        "cached",
        "Page cache: file data in memory; the kernel frees it when memory is needed.",
        "/proc/meminfo, or memory.stat of the limiting cgroup",
    ),
    MetricDescription(
        "ram",
        "shm",
        "Shared memory in /dev/shm, used by cache=ram and by batches of custom data sets; containers often limit it to "
        "64 MiB.",
        "the file system; with a cgroup limit at most that limit",
        "enough space for both",
    ),
    MetricDescription(
        "ram",
        "swap",
        "Memory swapped out to disk.",
        "/proc/meminfo, or the limiting cgroup",
        "none; swapping stalls training",
    ),
    MetricDescription(
        "disk",
        "IO/s",
        "Requests per second. Many small requests (one file per image) slow a disk down more than large ones.",
        "/proc/diskstats",
    ),
    MetricDescription(
        "disk",
        "data on",
        "The disk with the data of the run; in the monitor, the disk of the current folder.",
        "the folder's file system",
    ),
    MetricDescription(
        "disk",
        "queue, take",
        "Average number of waiting requests of the data disk, and the mean time of a read and of a write.",
        "/proc/diskstats",
        "reads below 1 ms on an SSD, below 15 ms on a hard disk",
    ),
    MetricDescription(
        "disk",
        "this run reads",
        "Bytes per second read from files by the processes of the run, and the share that came from the page cache.",
        "/proc/PID/io",
        "100 % from the cache after all data was read once",
    ),
    MetricDescription(
        "disk",
        "single disks",
        "Use, read (↓) and write (↑) rates of each disk, if there are several.",
        "/proc/diskstats",
    ),
    MetricDescription(
        "disk", "net", "Traffic of all network interfaces except loopback; data on NFS counts here.", "/proc/net/dev"
    ),
    MetricDescription(
        "processes",
        "processes",
        "First the processes of the run with their role: trainer (training loop), worker (data loading), supervisor "
        "(record). Then other processes with most CPU or memory: user, pid, command. Then processes with GPU memory: "
        "GPU index (1.0: the first MIG instance of GPU 1), memory, user, pid, command.",
        "NVML and /proc; in a container, processes of the host have no name",
    ),
    MetricDescription(
        "ranks",
        "own time",
        "Time of a step without the exchange, in which a rank waits for slower ones. The map shows it for each rank "
        "and every two seconds, compared with the median of all ranks; a row of several ranks shows the slowest.",
        "each rank's own clock: RankSteps and Steps of the record",
        "the same on all ranks",
    ),
    MetricDescription(
        "ranks",
        "step, data wait, exchange",
        "Other measures of the map (key m): the whole step, and the shares of a step in which a rank waited for a "
        "batch and for the gradients of the other ranks.",
        "as the own time",
        "exchange below 10 % on the rank that waits least",
    ),
    MetricDescription(
        "ranks",
        "overlap",
        "Share of the all-reduce that no rank waits for, because it runs during the backward pass. The whole time of "
        "the all-reduce is predicted.",
        "exchange of the rank that waits least; gradients over gpu_bandwidth and network_bandwidth",
        "above 70 %",
    ),
    MetricDescription(
        "ranks",
        "slow rank, slow node",
        "The rank, and the machine, that the others wait for a tenth of a step or more. The cause is its data (it "
        "waits for batches), its GPU's clock (below the others', with the throttle reason) or its neighbour (another "
        "program on its GPU or its cores). Each other machine is sampled every five (hosts) or ten seconds.",
        "own time and data wait of each rank; NVML and /proc",
    ),
    MetricDescription(
        "ranks",
        "node, ranks, CPU, RAM, disk, net, GPUs",
        "With room, the nodes, the slowest first: means over the ranks of each; its CPU, RAM, disks (MB/s read and "
        "written, and how busy the disk of the data is), network and GPUs. A lost node is named.",
        "as the own time; NVML and /proc of each node",
    ),
)
"""In the order of the panels."""
