"""The immutable state of a run at one moment, from which all screens and lines are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct, field

from gputrain.engine.common.units import Unit, per_second
from gputrain.engine.events import (
    CheckpointSaved,
    DataReady,
    HardwareSample,
    Hint,
    LoaderFound,
    LoaderStats,
    ModelReady,
    NodeSample,
    Phase,
    RunEnded,
    RunStarted,
    ScriptModel,
    StacksTaken,
    Steps,
    Traced,
    Tuned,
    Validated,
)
from gputrain.tui.charts.value_history import Curve
from gputrain.tui.state.rank_history import Ranks

EntryKind = Literal["log", "info", "good", "warning", "error"]


class Entry(Struct, frozen=True):
    """A line of the log panel: output of the trainer, or an event."""

    wall: float
    kind: EntryKind
    text: str
    """One line without control characters."""


class PhaseState(Struct, frozen=True):
    """The current phase and its progress."""

    phase: Phase = Phase.STARTING
    detail: str = ""
    fraction: float | None = None
    """Progress 0…1; None if the end is unknown."""
    done: float | None = None
    total: float | None = None
    unit: str = ""
    since: float = 0.0
    """Start in seconds of run time."""
    ends: float | None = None
    """Expected end in seconds of run time."""


class Shares(Struct, frozen=True):
    """Shares of the time of the newest steps; they sum to 1."""

    data_wait: float
    copy: float | None
    """None if nothing is copied."""
    compute: float
    other: float
    exchange: float | None = None
    """None with a single process."""


class Totals(Struct, frozen=True):
    """Sums over the whole run, in seconds unless the name says otherwise."""

    estimated: bool = False
    """A long record was read in part: the sums are estimates."""
    steps: int = 0
    images: float = 0.0
    step_seconds: float = 0.0
    data_wait: float = 0.0
    wait_unknown: bool = False
    """A script read no DataLoader in some steps: `data_wait`, `compute` and `other` say nothing."""
    first_batch_wait: float = 0.0
    copy: float | None = None
    compute: float = 0.0
    other: float = 0.0
    exchange: float | None = None
    peak_vram: int | None = None
    """Bytes: most memory used on any GPU; if no GPU could be read, most memory that the trainer allocated."""
    joules: float | None = None
    """Of the GPUs, by their energy counters, or by their power where they have none."""
    cpu_joules: float | None = None
    """Of the CPU packages; None where the kernel does not let this user read them."""
    power_seconds: float = 0.0
    """Seconds for which the power is known."""
    throttled: dict[str, float] = {}
    """Throttle reason → seconds in which any GPU reported it."""
    skipped: int = 0
    """Updates that a script's GradScaler left out."""
    bad_images: int = 0
    image_sizes: tuple[int, int] | None = None
    """Side length of the first and of the newest training images in pixels."""
    lost: int = 0
    """Events missing from the record."""
    dropped: int = 0
    """Windows of steps that the trainer could not report."""


class Snapshot(Struct, frozen=True, kw_only=True):
    """Everything known about a run."""

    seq: int = 0
    """Sequence number of the newest event."""
    wall: float = 0.0
    sparse_until: float = 0.0
    """Second of run time up to which a long record was read only in part."""
    elapsed: float = 0.0
    """Seconds of run time up to the newest event, without the time between a stop and a resume."""
    started: RunStarted | None = None
    data: DataReady | None = None
    model: ModelReady | None = None
    loader_found: LoaderFound | None = None
    """The DataLoader that a script of the user's own trains on; so the next two of its model and what it logs."""
    script_model: ScriptModel | None = None
    scalars: Mapping[str, float] = field(default_factory=dict)
    phase: PhaseState = PhaseState()
    steps: Steps | None = None
    """The newest window of steps."""
    loss: float | None = None
    """The newest training loss that was reported."""
    images_per_second: float | None = None
    """Over the last `store.RATE_SECONDS` of steps."""
    shares: Shares | None = None
    """Over the same steps as `images_per_second`."""
    eta_epoch: float | None = None
    eta_run: float | None = None
    loader: LoaderStats | None = None
    hardware: HardwareSample | None = None
    node_samples: Mapping[str, NodeSample] = field(default_factory=dict)
    """The newest sample of each other machine of the run."""
    ranks: Ranks = Ranks()
    """The ranks of a run on several devices, with their step times."""
    hints: tuple[Hint, ...] = ()
    judged: bool = False
    """Whether enough was measured for hints; before that, no hints means nothing."""
    tuned: Tuned | None = None
    """The newest live change of settings and its result."""
    tried: tuple[Tuned, ...] = ()
    """The newest 20 live changes that were kept or reverted."""
    stacks: StacksTaken | None = None
    """The newest ones that somebody asked for."""
    traced: Traced | None = None
    """The newest answer to a request for a trace."""
    validations: tuple[Validated, ...] = ()
    """The newest 1,000."""
    best: Validated | None = None
    checkpoints: tuple[CheckpointSaved, ...] = ()
    """The newest 20."""
    checkpoint_count: int = 0
    journal: tuple[Entry, ...] = ()
    """The newest 2,000 lines."""
    journal_count: int = 0
    curves: dict[str, Curve] = {}
    """Histories over run seconds, by the keys of `gputrain.tui.metrics.metric_lookup`."""
    totals: Totals = Totals()
    outcome: RunEnded | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The run's settings by name; empty before the first event."""
        return self.started.settings if self.started else {}

    @property
    def is_script(self) -> bool:
        """What runs is a script of the user's own."""
        return self.settings.get("engine") == "script"

    @property
    def rate_unit(self) -> str:
        """The unit of the throughput."""
        return per_second(self.unit)

    @property
    def unit(self) -> Unit:
        """What the throughput counts: a script of the user's own may train on anything."""
        return self.steps.unit if self.steps is not None else "samples" if self.is_script else "images"

    @property
    def epochs(self) -> int | None:
        """Requested epochs."""
        value = self.settings.get("epochs")
        return value if isinstance(value, int) else None

    @property
    def step(self) -> int:
        """Steps done."""
        if self.steps is not None:
            return self.steps.step
        return self.model.start_step if self.model else 0

    @property
    def phase_left(self) -> float | None:
        """Expected remaining seconds of the phase; None if unknown or already exceeded."""
        left = self.phase.ends - self.elapsed if self.phase.ends is not None else 0.0
        return left if left > 0 else None

    @property
    def phase_fraction(self) -> float | None:
        """Progress of the phase 0…1: by its work, otherwise by its expected time."""
        phase, left = self.phase, self.phase_left
        if phase.fraction is not None or left is None:
            return phase.fraction
        spent = self.elapsed - phase.since
        return spent / (spent + left)

    @property
    def run_fraction(self) -> float | None:
        """Progress of the run 0…1; None until the number of steps is known."""
        if self.model is None or self.model.total_steps <= 0:
            return None
        return min(1.0, self.step / self.model.total_steps)

    @property
    def queue_fill(self) -> float | None:
        """Fill of the queue between workers and training loop, 0…1."""
        if self.steps is None or self.steps.queue_depth is None or not self.steps.queue_capacity:
            return None
        return min(1.0, self.steps.queue_depth / self.steps.queue_capacity)
