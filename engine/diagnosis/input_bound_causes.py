"""Causes of an input-bound run (the training loop waits for data): families of causes, in the order of checking.

Each family yields at most one cause, the first that holds. The order and the thresholds come from faults injected on
two-core machines with a simulated accelerator (docs/diagnosis.md); no threshold was tuned on a GPU.
"""

from __future__ import annotations

from gputrain.engine.diagnosis import input_bound_fixes as fixes
from gputrain.engine.diagnosis.speedup_prediction import more_workers
from gputrain.engine.diagnosis.tree_nodes import LITTLE, MUCH, Cause, Question
from gputrain.engine.diagnosis.windows.signals import FULL_CPU, Signals

CROWDED = 0.25
"""Share of the usable cores used by other programs from which they count as a cause."""
DELAYED, THROTTLED, READING, LOCKED = 0.25, 0.05, 0.30, 0.30
BUSY, SLACK, AT_WORK = 0.85, 0.75, 0.60
UNEVEN = 1.5
"""Standard deviation of the waits over their mean, from which a few long waits make up most of the time."""
COLD = 0.30
"""Share of the bytes read that came from a disk; below it the page cache served the files."""
_RESTS = 0.5
"""CPU time over wall time of making a sample, below which another worker needs little of a core."""
_SLOW = 4.0
_SERVED = 0.15
_IDLE_CORE = 0.4
_HELPERS = 1.0
"""Cores used by the run beyond the workers' loops and the trainer's thread."""

WAIT = Question(lambda s: s.wait, "the training loop waited for data {} of the time", least=LITTLE)
_UTILIZATION = Question(lambda s: s.utilization, "GPU utilization {}", unit="percent")
_CPU = Question(lambda s: s.cpu, "CPU {} busy", unit="percent")
_WORKERS = Question(lambda s: s.workers, "data workers: {}", unit="count")
_SHOWN = (_UTILIZATION, _CPU, _WORKERS)

_STARVED = Question(lambda s: s.run_delay, "workers waited for a CPU core {} of their time", least=DELAYED)
_WAS_BUSY = Question(lambda s: s.busy, "the workers were busy {} of the time", least=BUSY)
_READS = Question(lambda s: s.read_wait, "workers waited for files {} of their time", least=READING)
_FROM_DISK = Question(lambda s: s.from_disk, "{} of the bytes came from a local disk")
_FULL = Question(lambda s: s.cpu, "CPU {} busy", least=FULL_CPU, unit="percent")


def _cost(s: Signals) -> float:
    return s.wait


def _cause(
    name: str, title: str, *tests: Question, fix: fixes.Maker, disproof: str, more: tuple[Question, ...] = ()
) -> Cause:
    return Cause(name, title, (WAIT, *tests), fix, disproof, _cost, (*more, *_SHOWN))


def _room_for_workers(s: Signals) -> float | None:
    """1 if a core is idle, or if the loop itself mostly waits for something else than a core, else 0."""
    if s.cpu is None:
        return None
    rests = s.kind == "inline" and s.run_delay is not None and s.cpu_ratio is not None and s.cpu_ratio < _RESTS
    return float(s.cpu < FULL_CPU or rests)


START = (
    _cause(
        "epoch-start",
        "The training loop waits at the start of each epoch",
        Question(lambda s: s.first_part, "{} of that for the first batch of an epoch", least=0.5),
        fix=fixes.epoch_start,
        disproof="the loop waits later in the epoch too: then the workers are too slow, not their start",
    ),
    _cause(
        "no-workers",
        "No data workers: the training process prepares the images itself",
        Question(lambda s: s.workers, "num_workers is {}", below=1, unit="count"),
        Question(lambda s: s.run_delay, "the loop waited for a CPU core {} of that time", below=DELAYED, lenient=True),
        Question(_room_for_workers, "the cores have {}room for workers", least=1, unit="yes", name="CPU use"),
        fix=fixes.no_workers,
        disproof="the rate stays the same with one worker",
    ),
)
_TAKEN = (
    _cause(
        "cpu-quota",
        "The CPU quota of the cgroup throttles the data workers",
        Question(lambda s: s.throttled, "the quota was used up in {} of its periods", least=THROTTLED),
        _STARVED,
        fix=fixes.quota,
        disproof="the rate stays the same with a higher quota",
    ),
    _cause(
        "cpu-affinity",
        "CPU affinity limits the run to some of the cores",
        _STARVED,
        Question(lambda s: s.affinity_share, "its affinity mask allows {} of the cores", below=1.0),
        Question(lambda s: s.foreign_share, "other programs used {} of them", below=0.5),
        fix=fixes.affinity,
        disproof="the rate stays the same with all cores",
    ),
    _cause(
        "cpu-neighbour",
        "Other programs take the cores from the data workers",
        _STARVED,
        Question(lambda s: s.foreign_share, "other programs used {} of the usable cores", least=CROWDED),
        fix=fixes.neighbour,
        disproof="the rate stays the same when they have ended",
    ),
    _cause(
        "oversubscribed",
        "More workers than cores",
        _STARVED,
        Question(lambda s: s.workers_per_core, "{} as many workers as usable cores", least=1.01, unit="times"),
        fix=fixes.oversubscribed,
        disproof="the rate is much lower with fewer workers",
    ),
)


def _none_taken(s: Signals) -> float | None:
    """1 if no cause in `_TAKEN` explains the full CPU; None where that is unknown.

    Without the kernel's run delay, cores that other programs take look the same as cores that the workers need.
    """
    if s.run_delay is not None or (s.cpu_ratio is not None and 1 - s.cpu_ratio < DELAYED):
        return 1.0
    return None if any(cause.holds(s) is None for cause in _TAKEN) else 1.0


CORES = (
    *_TAKEN,
    _cause(
        "helper-threads",
        "Library threads inside the workers compete for the cores",
        _STARVED,
        Question(lambda s: float(s.on_gpu), "the device is {}a GPU", least=1, unit="yes"),
        Question(lambda s: s.foreign_share, "other programs used {} of the usable cores", below=CROWDED),
        Question(
            lambda s: s.unnamed_cores,
            "the run used {} cores beyond its workers' and its trainer's own threads",
            least=_HELPERS,
            unit="cores",
            name="the cores that the run used",
        ),
        fix=fixes.helper_threads,
        disproof="the rate stays the same with OMP_NUM_THREADS=1",
    ),
    _cause(
        "cpu-saturated",
        "Image preparation needs all CPU cores",
        _FULL,
        Question(_none_taken, "nothing else {}takes the cores", least=1, unit="yes", name=_STARVED.unknown),
        Question(lambda s: s.cpu_ratio, "the workers used the CPU {} of their time", least=0.2),
        Question(lambda s: s.busy, "the workers were busy {} of the time", least=AT_WORK),
        fix=fixes.saturated,
        disproof="the rate rises with more workers",
    ),
)
READING_FILES = (
    _cause(
        "network",
        "Remote shards arrive too slowly",
        Question(lambda s: s.download_share or 0.0, "workers waited for remote shards {} of their time", least=READING),
        fix=fixes.network,
        disproof="the rate stays the same with all shards in the local cache",
        more=(Question(lambda s: s.download_rate, "{} came each second", unit="bytes"),),
    ),
    _cause(
        "cold-cache",
        "First epoch: the files are not in the page cache yet",
        _READS,
        Question(lambda s: s.from_disk, "{} of the bytes came from a local disk", least=COLD),
        Question(lambda s: s.epoch + 1, "this is epoch {}", below=2, unit="count"),
        Question(
            fixes.fits,
            "free RAM is {}enough for the files",
            least=1.0,
            unit="yes",
            name="whether free RAM holds the files",
        ),
        fix=fixes.cold,
        disproof="the second epoch reads as many bytes from the disk",
    ),
    _cause(
        "cache-thrash",
        "The files do not fit in the page cache",
        _READS,
        Question(lambda s: s.from_disk, "{} of the bytes came from a local disk", least=COLD),
        Question(lambda s: s.epoch + 1, "this is epoch {}", least=2, unit="count"),
        fix=fixes.thrash,
        disproof="the rate stays the same when more RAM is free",
    ),
    _cause(
        "disk",
        "Reading files slows the training down",
        _READS,
        fix=fixes.disk,
        disproof="the rate stays the same with the files in memory",
        more=(_FROM_DISK, Question(lambda s: s.psi_io, "tasks waited for I/O {} of the time")),
    ),
)
LOCKS = (
    _cause(
        "lock",
        "The data workers wait for a lock",
        Question(lambda s: s.lock_share, "workers waited for a lock {} of their time", least=LOCKED),
        fix=fixes.lock,
        disproof="the rate grows with the number of workers",
    ),
)
SPREAD = (
    _cause(
        "slow-samples",
        "A few slow samples hold up the batches behind them",
        Question(lambda s: s.busy, "the workers were busy {} of the time", below=SLACK),
        Question(lambda s: s.workers, "data workers: {}", least=2, unit="count"),
        Question(lambda s: s.slowness, "the slowest sample took {} the mean time", least=_SLOW, unit="times"),
        Question(
            lambda s: s.wait_cv, "the standard deviation of the waits was {} their mean", least=UNEVEN, unit="times"
        ),
        fix=fixes.slow_samples,
        disproof="the rate stays the same with a longer queue, or without the named files",
    ),
)
NUMBER = (
    _cause(
        "shared-wait",
        "More workers brought little: they wait for a shared resource",
        _WAS_BUSY,
        Question(lambda s: float(s.workers_gain is not None), "more workers were {}tried", least=1, unit="yes"),
        Question(lambda s: s.workers_gain, "they gained {} of the predicted speedup", below=0.5),
        fix=fixes.shared_wait,
        disproof="the rate grows with the number of workers after all",
    ),
    _cause(
        "few-workers",
        "Too few data workers",
        _WAS_BUSY,
        Question(lambda s: s.own_work, "{} of that computing samples", least=0.5),
        Question(lambda s: s.idle_cores, "{} cores were idle", least=_IDLE_CORE, unit="cores"),
        Question(
            lambda s: s.run_delay, "the workers waited for a CPU core {} of their time", below=_SERVED, lenient=True
        ),
        Question(more_workers, "workers that could be added: {}", least=1, unit="count"),
        fix=fixes.few_workers,
        disproof="the rate stays the same with more workers: then they wait for a shared resource",
    ),
    _cause(
        "workers-at-limit",
        "The data workers are the bottleneck",
        _WAS_BUSY,
        Question(lambda s: s.own_work, "{} of that computing samples", least=0.5),
        fix=fixes.at_limit,
        disproof="the rate rises with more workers",
    ),
)
FAMILIES = (START, CORES, READING_FILES, LOCKS, SPREAD, NUMBER)
"""In the order of the tree."""
_WAIT_BEHIND = frozenset({"slow-samples", "shared-wait", "few-workers", "workers-at-limit"})
EXPLAINS: dict[str, frozenset[str]] = {
    "epoch-start": frozenset({"slow-samples"}),
    "no-workers": _WAIT_BEHIND,
    "cpu-quota": _WAIT_BEHIND,
    "cpu-affinity": _WAIT_BEHIND,
    "cpu-neighbour": _WAIT_BEHIND - {"few-workers"},
    "oversubscribed": _WAIT_BEHIND | {"lock"},
    "helper-threads": _WAIT_BEHIND,
    "cpu-saturated": _WAIT_BEHIND,
    "lock": _WAIT_BEHIND,
}
"""For each cause, the later causes that it explains: they would hold only because of it, and are not checked."""


def _is_handover(s: Signals) -> float:
    """1 if the workers idle and all steps wait about equally long: the loop's own thread gets a core too late."""
    rests = s.busy is not None and s.busy < 0.5
    return float(rests and s.wait_cv is not None and s.wait_cv < 1.0)


UNEXPLAINED = Cause(
    "data-wait",
    "The training loop waits for data; no single cause fits",
    (
        Question(lambda s: s.wait, "the training loop waited for data {} of the time", least=MUCH),
        Question(_is_handover, "batches were {}ready before the loop took them", below=1, unit="yes"),
    ),
    fixes.unexplained,
    "the rate stays the same with other num_workers",
    _cost,
    (Question(lambda s: s.busy, "the workers were busy {} of the time"), *_SHOWN),
)
"""A wait that no other cause explains, and that is more than the hand-over of finished batches."""
HARMLESS_OVERSUBSCRIPTION = Cause(
    "oversubscribed",
    "More workers than cores",
    (
        Question(lambda s: s.wait, "the training loop waited for data {} of the time", below=LITTLE),
        _STARVED,
        _FULL,
        Question(lambda s: s.workers_per_core, "{} as many workers as usable cores", least=1.01, unit="times"),
        Question(lambda s: s.foreign_share, "other programs used {} of the usable cores", below=CROWDED),
    ),
    fixes.oversubscribed,
    "the rate falls with fewer workers",
    lambda s: 0.0,
    severity="info",
)
"""Too many workers that cost no speed, but memory."""
