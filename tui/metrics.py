"""The figures on the screen as a table: what each is, where it comes from, and what is good. Pure.

Panels colour by it, charts take their ranges from it, and the help screen explains from it, so that none can
say anything else. Target ranges of GPU, CPU and RAM are those of the guides that this tool replaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from msgspec import Struct

from gputrain.tui import format as words
from gputrain.tui import readings
from gputrain.tui.snapshot import Snapshot

Level = Literal["plain", "good", "warn", "bad"]
Show = Callable[[float | None], str]
"""A value in words."""
Getter = Callable[[Snapshot], float | None]


class Metric(Struct, frozen=True, kw_only=True):
    """One figure."""

    key: str
    title: str
    unit: str
    panel: str
    help: str
    """What it is, in a sentence."""
    source: str
    """Where it comes from."""
    advice: str = ""
    """What is good, in words; empty where nothing can be said in general."""
    get: Getter | None = None
    """Its present value; None for figures of which there are several (one per GPU)."""
    show: Show = words.figure
    low: float | None = None
    """The chart's range; None: from the data."""
    high: float | None = None
    good: tuple[float, float] | None = None
    """Range in which it should be."""
    warn_above: float | None = None
    bad_above: float | None = None
    warn_below: float | None = None

    def level(self, value: float | None) -> Level:
        """How good `value` is; colours and words follow from it."""
        if value is None:
            return "plain"
        if self.bad_above is not None and value > self.bad_above:
            return "bad"
        if self.warn_above is not None and value > self.warn_above:
            return "warn"
        if self.warn_below is not None and value < self.warn_below:
            return "warn"
        return "good" if self.good is not None and self.good[0] <= value <= self.good[1] else "plain"


_METRICS = (
    Metric(
        key="images_per_second",
        title="throughput",
        unit="img/s",
        panel="throughput",
        help="Training images per second, over the last ten seconds of steps.",
        source="the training loop's clock: images of the steps over the time they took, waits included",
        advice="what counts: compare it before and after a change, on the same recipe",
        get=lambda now: now.images_per_second,
        show=words.rate,
        low=0,
    ),
    Metric(
        key="data_wait",
        title="data wait",
        unit="%",
        panel="pipeline",
        help="Share of the step time in which the loop had no batch to train on.",
        source="timed in the training loop around the loader",
        advice="below 5 %; from 10 % on the workers or the disk hold the run back, from 20 % badly",
        get=readings.wait,
        show=words.share,
        low=0,
        high=1,
        warn_above=0.10,
        bad_above=0.20,
    ),
    Metric(
        key="copy",
        title="copy",
        unit="%",
        panel="pipeline",
        help="Share of the step time spent copying batches to the GPU (H2D: host to device).",
        source="CUDA events around the copies; on the CPU nothing is copied",
        advice="below 10 %; pinned memory and non-blocking copies hide it behind compute",
        get=readings.copy,
        show=words.share,
        low=0,
        high=1,
        warn_above=0.10,
        bad_above=0.20,
    ),
    Metric(
        key="compute",
        title="compute",
        unit="%",
        panel="pipeline",
        help="Share of the step time in forward, backward and update.",
        source="CUDA events on a GPU, the clock on the CPU",
        advice="above 90 %: the run is as fast as this device computes",
        get=readings.compute,
        show=words.share,
        low=0,
        high=1,
        good=(0.90, 1.0),
    ),
    Metric(
        key="mfu",
        title="MFU",
        unit="%",
        panel="pipeline",
        help="Model FLOPs utilization: the operations of the forward and backward passes of the images per second, "
        "over what the GPU's data sheet promises in this precision.",
        source="matrix products and convolutions counted on the model; the data sheet's dense rate",
        advice="20-45 % for convolutional networks, 40-60 % for transformers: utilization says busy, this says useful",
        get=readings.mfu,
        show=words.share,
        low=0,
        high=1,
    ),
    Metric(
        key="other",
        title="other",
        unit="%",
        panel="pipeline",
        help="Share of the step time in none of the above: the loop itself, logging, and on a GPU the gaps in which "
        "it has nothing to do because the host launches work too slowly.",
        source="the rest of the training loop's clock",
        advice="below 10 %",
        get=readings.other,
        show=words.share,
        low=0,
        high=1,
        warn_above=0.10,
    ),
    Metric(
        key="queue",
        title="queue",
        unit="batches",
        panel="pipeline",
        help="Finished batches that wait for the loop, of those that can wait. Empty while the loop waits: "
        "the workers are too slow. Full: they are fast enough.",
        source="counted by the loader at each step",
        advice="not empty",
        get=lambda now: now.queue_fill,
        show=words.share,
        low=0,
        high=1,
    ),
    Metric(
        key="busy",
        title="workers busy",
        unit="%",
        panel="pipeline",
        help="Share of the workers' time spent reading, decoding and augmenting. Below it they wait for a free slot.",
        source="timed inside each worker",
        advice="at 100 % with an empty queue, more workers help if cores are free",
        get=readings.busy,
        show=words.share,
        low=0,
        high=1,
    ),
    Metric(
        key="loss",
        title="training loss",
        unit="",
        panel="loss",
        help="Mean loss of the newest training steps whose loss was fetched from the device.",
        source="the training loop",
        advice="falling; a sudden rise or nan means that the learning rate is too high",
        get=lambda now: now.loss,
    ),
    Metric(
        key="lr",
        title="learning rate",
        unit="",
        panel="run",
        help="Learning rate of the newest step, after warm-up, schedule and scaling with the batch.",
        source="the optimizer",
        get=readings.lr,
    ),
    Metric(
        key="gpu",
        title="GPU utilization",
        unit="%",
        panel="gpu",
        help="Share of the time in which any kernel ran. A GPU that waits between tiny kernels can still read 100 %.",
        source="NVML utilization.gpu, one sample a second",
        advice="95–100 %; below 70 % something holds the GPU up",
        get=readings.gpu,
        show=words.percent,
        low=0,
        high=100,
        good=(95, 100),
        warn_below=70,
    ),
    Metric(
        key="vram",
        title="VRAM",
        unit="%",
        panel="gpu",
        help="Memory of the GPU that is taken, by this run and by all others.",
        source="NVML memory info",
        advice="below 90 %; far below: a bigger batch would fit",
        get=readings.vram,
        show=words.percent,
        low=0,
        high=100,
        warn_above=90,
        bad_above=97,
    ),
    Metric(
        key="temperature",
        title="GPU temperature",
        unit="°C",
        panel="gpu",
        help="Temperature of the GPU's die. Near its slowdown threshold the clock is lowered.",
        source="NVML",
        advice="below 80 °C",
        show=words.celsius,
        warn_above=83,
        bad_above=90,
    ),
    Metric(
        key="power",
        title="GPU power",
        unit="W",
        panel="gpu",
        help="Electrical power of all GPUs. At the power cap the clock is held back, which is usual under full load.",
        source="NVML",
        get=readings.power,
        show=words.watts,
        low=0,
    ),
    Metric(
        key="throttle",
        title="clock lowered by",
        unit="",
        panel="gpu",
        help="Why the GPU's clock is below what it could be. A power cap is a setting; heat and power brakes are "
        "trouble with cooling or supply.",
        source="NVML clocks event reasons",
        advice="nothing, or the power cap",
    ),
    Metric(
        key="cpu",
        title="CPU",
        unit="%",
        panel="cpu",
        help="Use of the cores that this run may use: its affinity and its cgroup's quota, not the host's count.",
        source="/proc/stat and the cgroup",
        advice="60–80 %; above 95 % more workers cannot help",
        get=readings.cpu,
        show=words.percent,
        low=0,
        high=100,
        good=(60, 80),
        warn_above=95,
    ),
    Metric(
        key="ram",
        title="RAM",
        unit="%",
        panel="ram",
        help="Memory that cannot be given to anybody else: all but what is available, of the host or of the "
        "cgroup's limit.",
        source="MemAvailable in /proc/meminfo, and the cgroup",
        advice="40–60 %; above 90 % the kernel may end the run",
        get=readings.ram,
        show=words.percent,
        low=0,
        high=100,
        good=(40, 60),
        warn_above=80,
        bad_above=90,
    ),
    Metric(
        key="disk_read",
        title="disk read",
        unit="MB/s",
        panel="disk",
        help="Read from all disks. Falls to nothing once the data is in the page cache.",
        source="/proc/diskstats",
        get=readings.disk_read,
        show=words.byte_rate,
        low=0,
    ),
    Metric(
        key="disk_write",
        title="disk write",
        unit="MB/s",
        panel="disk",
        help="Written to all disks; checkpoints show as peaks.",
        source="/proc/diskstats",
        get=readings.disk_write,
        show=words.byte_rate,
        low=0,
    ),
    Metric(
        key="device_busy",
        title="device busy",
        unit="%",
        panel="disk",
        help="Share of the time in which the data's disk had requests. An SSD can do more even at 100 %.",
        source="/proc/diskstats",
        get=lambda now: now.hardware.disk.device_busy if now.hardware and now.hardware.disk else None,
        show=words.share,
        low=0,
        high=1,
        warn_above=0.95,
    ),
    Metric(
        key="psi_io",
        title="pressure",
        unit="%",
        panel="disk",
        help="Share of the last ten seconds in which some task waited for cpu, disk or memory (PSI).",
        source="/proc/pressure, or the cgroup's",
        advice="near 0 %",
        get=lambda now: now.hardware.psi_io if now.hardware else None,
        show=words.share,
        warn_above=0.10,
        bad_above=0.40,
    ),
)

METRICS: dict[str, Metric] = {metric.key: metric for metric in _METRICS}
"""All metrics by key, in the order of the help screen."""

_THROTTLE: dict[str, Level] = {
    "power cap": "plain",
    "application clocks": "plain",
    "sync boost": "plain",
    "display clocks": "plain",
    "hardware slowdown": "bad",
    "hardware thermal": "bad",
    "power brake": "bad",
}
_WORST: tuple[Level, ...] = ("bad", "warn", "plain")


def throttle_level(reasons: Iterable[str]) -> Level:
    """How bad it is that the clock is lowered for `reasons`: settings are neutral, heat by software is a warning."""
    return min((_THROTTLE.get(reason, "warn") for reason in reasons), key=_WORST.index, default="plain")


def tick(metric: Metric) -> Show:
    """How a tick of the metric's axis is shown: with the unit of its values, without needless digits."""
    return words.byte_tick if metric.show is words.byte_rate else metric.show


def level(key: str, value: float | None) -> Level:
    """How good `value` is for the metric called `key`."""
    return METRICS[key].level(value)
