"""The smaller figures of the panels, explained: those that have no limits and no curve (see `metrics.metric_table`)."""

from __future__ import annotations

from typing import NamedTuple


class MetricDescription(NamedTuple):
    """One figure of a panel."""

    panel: str
    title: str
    help: str
    source: str
    advice: str = ""


FIGURES = (
    MetricDescription(
        "gpu",
        "SM clock",
        "The clock of the GPU's cores, and the highest it can have.",
        "NVML",
        "near the highest under load, unless the power cap holds it back",
    ),
    MetricDescription(
        "gpu", "fan", "Speed of the fan that was asked for. Cards cooled by the server's air have none.", "NVML"
    ),
    MetricDescription(
        "gpu",
        "PCIe",
        "Traffic to (↓) and from (↑) the GPU over its bus, of a fraction of a second.",
        "NVML, one GPU after the other: the call takes some time",
        "far below what the link can do: about 25 GB/s for PCIe 4.0 x16",
    ),
    MetricDescription(
        "gpu",
        "also used by",
        "Whose other programs hold memory of this GPU, and slow the run down while they compute.",
        "NVML's list of processes, and /proc",
        "nobody",
    ),
    MetricDescription(
        "gpu",
        "activity",
        "Shares of the time in which the multiprocessors (SM), the tensor cores and the memory (DRAM) were at work, "
        "and of the threads they could hold (occupancy). Utilization above says only that some kernel ran.",
        "NVML's performance monitoring (GPM), Hopper and newer",
        "tensor cores busy in mixed precision: they are what makes it fast",
    ),
    MetricDescription(
        "gpu",
        "memory clock, busy",
        "The clock of the GPU's memory and the highest it can have, the share of the time in which memory was read or "
        "written, and its own temperature.",
        "NVML",
    ),
    MetricDescription(
        "gpu",
        "slows at",
        "The temperature at which this card lowers its clock; its heat is amber from 10 °C below, and HOT from there.",
        "NVML",
    ),
    MetricDescription(
        "gpu",
        "link",
        "Generation and lanes of the PCIe link, and NVLink's traffic. Told where it is less than this machine could "
        "give: the generation only under load, as idle GPUs lower it.",
        "NVML",
        "all lanes; else the card sits badly, or shares its slot",
    ),
    MetricDescription(
        "gpu",
        "ECC",
        "Memory errors since the driver was loaded: corrected ones cost nothing, uncorrected ones spoil figures or end "
        "the run.",
        "NVML",
        "0 uncorrected; else have the card looked at",
    ),
    MetricDescription("gpu", "video", "Use of the video encoder and decoder.", "NVML", "0 %, unless the data is video"),
    MetricDescription(
        "gpu",
        "MIG",
        "The instances of a divided GPU, each with its memory, activity and number in CUDA. NVML has no utilization "
        "for them.",
        "NVML; activities by GPM, Hopper and newer",
    ),
    MetricDescription(
        "cpu", "cores", "How busy each usable core is; the busiest of neighbours where they don't fit.", "/proc/stat"
    ),
    MetricDescription(
        "cpu",
        "this run, others",
        "Cores that the run's own processes keep busy, and all others of the machine or container.",
        "/proc of the run's process tree; the rest of what is busy",
        "others near 0: they take what the workers need",
    ),
    MetricDescription(
        "cpu",
        "load",
        "Processes that ran or waited to run, mean over a minute, of the whole host.",
        "/proc/loadavg",
        "below the number of cores",
    ),
    *(
        MetricDescription(
            panel,
            "pressure",
            f"Share of the last ten seconds in which some task waited for {what}.",
            f"/proc/pressure/{name} (PSI), or the cgroup's",
            advice,
        )
        for panel, what, name, advice in (
            ("cpu", "a free core", "cpu", "near 0 %: else there are more busy processes than cores"),
            ("ram", "memory to be freed", "memory", "0 %: the kernel takes pages back that are still needed"),
        )
    ),
    MetricDescription(
        "cpu",
        "throttled",
        "Share of the scheduler's periods in which the container had used up its quota and stood still.",
        "the cgroup's nr_throttled",
        "0 %; else fewer workers, or a larger quota",
    ),
    MetricDescription(
        "cpu",
        "stolen",
        "Cores that the hypervisor gave to other virtual machines while this one wanted them.",
        "/proc/stat",
        "nothing",
    ),
    MetricDescription(
        "cpu", "GHz, °C", "Mean clock of the usable cores and the CPU's temperature.", "cpufreq and hwmon in /sys"
    ),
    MetricDescription(
        "ram",
        "this run",
        "Memory that the run's processes hold. Pages that they share count once, or for each where it can't be told.",
        "smaps_rollup in /proc, else their resident sets",
    ),
    MetricDescription(
        "ram",
        "cached",
        "Files that the kernel keeps in memory; given back when memory is needed.",
        "/proc/meminfo, or the memory.stat of the cgroup whose limit holds",
    ),
    MetricDescription(
        "ram",
        "shm",
        "Memory in /dev/shm, where cache=ram and the batches of a data set of one's own lie; containers often allow "
        "64 MiB.",
        "the file system's own count; under a cgroup's limit no more than that, and what the cgroup shares",
        "room for those",
    ),
    MetricDescription(
        "ram",
        "swap",
        "Memory that was moved to disk.",
        "/proc/meminfo, or the cgroup whose limit holds",
        "none: swapping stalls training",
    ),
    MetricDescription(
        "disk",
        "IO/s",
        "Requests a second. Many small ones (one file an image) slow a disk down more than many bytes do.",
        "/proc/diskstats",
    ),
    MetricDescription(
        "disk",
        "data on",
        "The disk that the run's data lies on; in the monitor, that of the current folder.",
        "the folder's file system",
    ),
    MetricDescription(
        "disk",
        "queue, take",
        "Requests that waited for the data's disk on average, and how long one read and one write took.",
        "/proc/diskstats",
        "reads below 1 ms on an SSD, below 15 ms on a hard disk",
    ),
    MetricDescription(
        "disk",
        "this run reads",
        "What its processes read from files, and the share that no disk was needed for.",
        "/proc/PID/io",
        "100 % from the cache once all data was read",
    ),
    MetricDescription(
        "disk", "single disks", "Each disk's use, read (↓) and written (↑), where there are several.", "/proc/diskstats"
    ),
    MetricDescription(
        "disk", "net", "Traffic of all network interfaces but loopback; data on NFS comes this way.", "/proc/net/dev"
    ),
    MetricDescription(
        "processes",
        "processes",
        "Who computes: the run's own processes and what they do in it (the trainer trains, workers make batches, the "
        "supervisor records); then others that use most cores or memory, with user, pid and command; then who holds "
        "memory of a GPU: its number (1.0: the first MIG instance of GPU 1), memory, user, pid, command.",
        "NVML and /proc; in a container the host's pids can't be named",
    ),
)
"""In the order of the panels."""
