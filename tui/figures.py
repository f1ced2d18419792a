"""The smaller figures of the panels, explained: those that have no limits and no curve (see `gputrain.tui.metrics`)."""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """One figure of a panel."""

    panel: str
    title: str
    help: str
    source: str
    advice: str = ""


FIGURES = (
    Figure(
        "gpu",
        "SM clock",
        "The clock of the GPU's cores, and the highest it can have.",
        "NVML",
        "near the highest under load, unless the power cap holds it back",
    ),
    Figure("gpu", "fan", "Speed of the fan that was asked for. Cards cooled by the server's air have none.", "NVML"),
    Figure(
        "gpu",
        "PCIe",
        "Traffic to (↓) and from (↑) the GPU over its bus, of a fraction of a second.",
        "NVML, one GPU after the other: the call takes some time",
        "far below what the link can do: about 25 GB/s for PCIe 4.0 x16",
    ),
    Figure(
        "gpu",
        "also used by",
        "Whose other programs hold memory of this GPU, and slow the run down while they compute.",
        "NVML's list of processes, and /proc",
        "nobody",
    ),
    Figure(
        "cpu", "cores", "How busy each usable core is; the busiest of neighbours where they don't fit.", "/proc/stat"
    ),
    Figure(
        "cpu",
        "this run, others",
        "Cores that the run's own processes keep busy, and all others of the machine or container.",
        "/proc of the run's process tree; the rest of what is busy",
        "others near 0: they take what the workers need",
    ),
    Figure(
        "cpu",
        "load",
        "Processes that ran or waited to run, mean over a minute, of the whole host.",
        "/proc/loadavg",
        "below the number of cores",
    ),
    *(
        Figure(
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
    Figure(
        "cpu",
        "throttled",
        "Share of the scheduler's periods in which the container had used up its quota and stood still.",
        "the cgroup's nr_throttled",
        "0 %; else fewer workers, or a larger quota",
    ),
    Figure(
        "ram",
        "this run",
        "Memory that the run's processes hold. Pages that they share count once, or for each where it can't be told.",
        "smaps_rollup in /proc, else their resident sets",
    ),
    Figure(
        "ram", "cached", "Files that the kernel keeps in memory; given back when memory is needed.", "/proc/meminfo"
    ),
    Figure(
        "ram",
        "shm",
        "Memory in /dev/shm, through which worker processes hand over batches; containers often allow 64 MiB.",
        "the file system's own count",
        "room for workers × prefetched batches",
    ),
    Figure(
        "ram",
        "swap",
        "Memory that was moved to disk.",
        "/proc/meminfo, or the cgroup",
        "none: swapping stalls training",
    ),
    Figure(
        "disk",
        "IO/s",
        "Requests a second. Many small ones (one file an image) slow a disk down more than many bytes do.",
        "/proc/diskstats",
    ),
    Figure("disk", "data on", "The disk that the run's data lies on.", "the data folder's file system"),
    Figure(
        "disk", "net", "Traffic of all network interfaces but loopback; data on NFS comes this way.", "/proc/net/dev"
    ),
    Figure(
        "processes",
        "processes",
        "Who computes: the run's own processes, then others that use most cores, with user, pid and command; then "
        "who holds memory of a GPU: its number (1.0: the first MIG instance of GPU 1), memory, user, pid, command.",
        "NVML and /proc; in a container the host's pids can't be named",
    ),
)
"""In the order of the panels."""
