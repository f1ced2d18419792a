"""Why the training loop waits for data: families of causes, in the order in which they must be ruled out.

Of one family only one cause is right, the first that holds. The order and the bounds come from faults that were
injected on two-core machines with a simulated accelerator (docs/diagnosis.md); no bound was tuned on a GPU.
"""

from __future__ import annotations

from gputrain.engine.diagnosis import input_bound_fixes as fixes
from gputrain.engine.diagnosis.speedup_prediction import more_workers
from gputrain.engine.diagnosis.tree import LITTLE, MUCH, Cause, Question
from gputrain.engine.diagnosis.windows.signals import FULL_CPU, Signals

CROWDED = 0.25
"""Share of the usable cores from which others are named."""
DELAYED, THROTTLED, READING, LOCKED = 0.25, 0.05, 0.30, 0.30
BUSY, SLACK, AT_WORK = 0.85, 0.75, 0.60
UNEVEN = 1.5
"""Standard deviation of the waits over their mean: a few long ones."""
COLD = 0.30
"""Shares of the bytes read that came from a disk: below the first the page cache served them."""
_SLOW = 4.0
_SERVED = 0.15
_IDLE_CORE = 0.4
_HELPERS = 1.0
"""Cores of the run that neither the workers' loops nor the trainer's thread account for."""

WAIT = Question(lambda s: s.wait, "the loop waited for data {} of the time", least=LITTLE)
_UTILIZATION = Question(lambda s: s.utilization, "GPU utilization {}", unit="percent")
_CPU = Question(lambda s: s.cpu, "CPU {} busy", unit="percent")
_WORKERS = Question(lambda s: s.workers, "data workers: {}", unit="count")
_SHOWN = (_UTILIZATION, _CPU, _WORKERS)

_STARVED = Question(lambda s: s.run_delay, "workers wanted a core and had none {} of their time", least=DELAYED)
_WAS_BUSY = Question(lambda s: s.busy, "the workers were busy {} of the time", least=BUSY)
_READS = Question(lambda s: s.read_wait, "workers waited for files {} of their time", least=READING)
_FROM_DISK = Question(lambda s: s.from_disk, "{} of the bytes came from the disk")
_FULL = Question(lambda s: s.cpu, "CPU {} busy", least=FULL_CPU, unit="percent")


def _cost(s: Signals) -> float:
    return s.wait


def _cause(
    name: str, title: str, *tests: Question, fix: fixes.Maker, disproof: str, more: tuple[Question, ...] = ()
) -> Cause:
    return Cause(name, title, (WAIT, *tests), fix, disproof, _cost, (*more, *_SHOWN))


START = (
    _cause(
        "epoch-start",
        "The loop waits at the start of each epoch",
        Question(lambda s: s.first_part, "{} of that for the first batch of an epoch", least=0.5),
        fix=fixes.epoch_start,
        disproof="waits within the epochs would show that the workers are too slow, not their start",
    ),
    _cause(
        "no-workers",
        "Images are prepared by the training process itself",
        Question(lambda s: s.workers, "num_workers is {}", below=1, unit="count"),
        Question(lambda s: s.cpu, "CPU {} busy", below=FULL_CPU, unit="percent"),
        fix=fixes.no_workers,
        disproof="the same rate with one worker",
    ),
)
_TAKEN = (
    _cause(
        "cpu-quota",
        "The cgroup's CPU quota holds the workers back",
        Question(lambda s: s.throttled, "the quota ran out in {} of its periods", least=THROTTLED),
        _STARVED,
        fix=fixes.quota,
        disproof="the same rate with a higher quota",
    ),
    _cause(
        "cpu-affinity",
        "The run may use a part of the cores only",
        _STARVED,
        Question(lambda s: s.affinity_share, "its affinity allows {} of the cores", below=1.0),
        Question(lambda s: s.foreign_share, "others used {} of them", below=0.5),
        fix=fixes.affinity,
        disproof="the same rate with all cores",
    ),
    _cause(
        "cpu-neighbour",
        "Other programs take the cores",
        _STARVED,
        Question(lambda s: s.foreign_share, "others used {} of the usable cores", least=CROWDED),
        fix=fixes.neighbour,
        disproof="the same rate when they have ended",
    ),
    _cause(
        "oversubscribed",
        "More workers than cores",
        _STARVED,
        Question(lambda s: s.workers_per_core, "{} as many workers as usable cores", least=1.01, unit="times"),
        fix=fixes.oversubscribed,
        disproof="a much lower rate with fewer workers",
    ),
)


def _none_taken(s: Signals) -> float | None:
    """1 if work alone can fill the CPU: cores that something takes look the same where the kernel tells no delay."""
    if s.run_delay is not None or (s.cpu_ratio is not None and 1 - s.cpu_ratio < DELAYED):
        return 1.0
    return None if any(cause.holds(s) is None for cause in _TAKEN) else 1.0


CORES = (
    *_TAKEN,
    _cause(
        "helper-threads",
        "The workers' own threads take the cores from each other",
        _STARVED,
        Question(lambda s: float(s.on_gpu), "the device is {}a GPU", least=1, unit="yes"),
        Question(lambda s: s.foreign_share, "others used {} of the usable cores", below=CROWDED),
        Question(
            lambda s: s.unnamed_cores,
            "{} cores of the run were used beside its workers and its trainer",
            least=_HELPERS,
            unit="cores",
            name="the cores that the run used",
        ),
        fix=fixes.helper_threads,
        disproof="the same rate with OMP_NUM_THREADS=1",
    ),
    _cause(
        "cpu-saturated",
        "Preparing images needs all cores",
        _FULL,
        Question(_none_taken, "nothing {}takes the cores from them", least=1, unit="yes", name=_STARVED.unknown),
        Question(lambda s: s.cpu_ratio, "the workers computed {} of their time", least=0.2),
        Question(lambda s: s.busy, "the workers were busy {} of the time", least=AT_WORK),
        fix=fixes.saturated,
        disproof="a higher rate with more workers",
    ),
)
READING_FILES = (
    _cause(
        "cold-cache",
        "The files are read for the first time",
        _READS,
        Question(lambda s: s.from_disk, "{} of the bytes came from the disk", least=COLD),
        Question(lambda s: s.epoch + 1, "this is epoch {}", below=2, unit="count"),
        Question(
            fixes.fits,
            "what is free in RAM is {}enough for the files",
            least=1.0,
            unit="yes",
            name="whether free RAM holds the files",
        ),
        fix=fixes.cold,
        disproof="as many bytes from the disk in the second epoch",
    ),
    _cause(
        "cache-thrash",
        "The files do not stay in memory",
        _READS,
        Question(lambda s: s.from_disk, "{} of the bytes came from the disk", least=COLD),
        Question(lambda s: s.epoch + 1, "this is epoch {}", least=2, unit="count"),
        fix=fixes.thrash,
        disproof="a faster epoch as soon as more RAM is free",
    ),
    _cause(
        "disk",
        "Reading the files holds the training up",
        _READS,
        fix=fixes.disk,
        disproof="the same rate with the files in memory",
        more=(_FROM_DISK, Question(lambda s: s.psi_io, "tasks waited for I/O {} of the time")),
    ),
)
LOCKS = (
    _cause(
        "lock",
        "The workers wait for each other",
        Question(lambda s: s.lock_share, "workers waited for a lock {} of their time", least=LOCKED),
        fix=fixes.lock,
        disproof="a rate that grows with the number of workers",
    ),
)
SPREAD = (
    _cause(
        "slow-samples",
        "Some samples take much longer, and the others wait behind them",
        Question(lambda s: s.busy, "the workers were busy {} of the time", below=SLACK),
        Question(lambda s: s.workers, "data workers: {}", least=2, unit="count"),
        Question(lambda s: s.slowness, "the slowest sample took {} as long as the mean one", least=_SLOW, unit="times"),
        Question(lambda s: s.wait_cv, "the waits varied by {} their mean", least=UNEVEN, unit="times"),
        fix=fixes.slow_samples,
        disproof="the same rate with a longer queue, or after the named files are gone",
    ),
)
NUMBER = (
    _cause(
        "shared-wait",
        "More workers brought little: they wait for something in common",
        _WAS_BUSY,
        Question(lambda s: float(s.workers_gain is not None), "more workers were {}tried", least=1, unit="yes"),
        Question(lambda s: s.workers_gain, "they gained {} of what was promised", below=0.5),
        fix=fixes.shared_wait,
        disproof="a rate that grows with the number of workers after all",
    ),
    _cause(
        "few-workers",
        "Too few data workers",
        _WAS_BUSY,
        Question(lambda s: s.own_work, "{} of that on the samples themselves", least=0.5),
        Question(lambda s: s.idle_cores, "{} cores were idle", least=_IDLE_CORE, unit="cores"),
        Question(
            lambda s: s.run_delay, "they wanted a core and had none {} of their time", below=_SERVED, lenient=True
        ),
        Question(more_workers, "workers that would be of use beside them: {}", least=1, unit="count"),
        fix=fixes.few_workers,
        disproof="the same rate with more of them: then they wait for something in common",
    ),
    _cause(
        "workers-at-limit",
        "The data workers are the bottleneck",
        _WAS_BUSY,
        Question(lambda s: s.own_work, "{} of that on the samples themselves", least=0.5),
        fix=fixes.at_limit,
        disproof="a higher rate with more workers",
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
"""Causes that need not be asked any more when one was found: it would make them hold too."""


def _is_handing_over(s: Signals) -> float:
    """1 if the workers rest and every step waits about as long: the loop's own thread gets no core at once."""
    rests = s.busy is not None and s.busy < 0.5
    return float(rests and s.wait_cv is not None and s.wait_cv < 1.0)


UNEXPLAINED = Cause(
    "data-wait",
    "The loop waits for data, and no cause is certain",
    (
        Question(lambda s: s.wait, "the loop waited for data {} of the time", least=MUCH),
        Question(_is_handing_over, "batches were {}ready, and the loop was late to take them", below=1, unit="yes"),
    ),
    fixes.unexplained,
    "a run with other num_workers that is as fast",
    _cost,
    (Question(lambda s: s.busy, "the workers were busy {} of the time"), *_SHOWN),
)
"""What is left of a wait that is more than the handing over of batches."""
UNNOTICED = Cause(
    "oversubscribed",
    "More workers than cores",
    (
        Question(lambda s: s.wait, "the loop waited for data {} of the time", below=LITTLE),
        _STARVED,
        _FULL,
        Question(lambda s: s.workers_per_core, "{} as many workers as usable cores", least=1.01, unit="times"),
        Question(lambda s: s.foreign_share, "others used {} of the usable cores", below=CROWDED),
    ),
    fixes.oversubscribed,
    "a lower rate with fewer workers",
    lambda s: 0.0,
    severity="info",
)
"""Nobody waits for them, but they take memory."""
