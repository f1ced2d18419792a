"""A run as it was at one moment: what every screen and every plain line is made from. Nothing here ever changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct, field

from gputrain.engine.events import (
    CheckpointSaved,
    DataReady,
    HardwareSample,
    Hint,
    LoaderFound,
    LoaderStats,
    ModelReady,
    Phase,
    RunEnded,
    RunStarted,
    ScriptModel,
    Steps,
    Tuned,
    Validated,
)
from gputrain.tui.charts.history import Curve

EntryKind = Literal["log", "info", "good", "warning", "error"]


class Entry(Struct, frozen=True):
    """A line of the journal: what the trainer printed, and what happened."""

    wall: float
    kind: EntryKind
    text: str
    """One harmless line."""


class PhaseState(Struct, frozen=True):
    """What the run is busy with, and how far it is."""

    phase: Phase = Phase.STARTING
    detail: str = ""
    fraction: float | None = None
    """0…1; None where the end is not known."""
    done: float | None = None
    total: float | None = None
    unit: str = ""
    since: float = 0.0
    """When it began, in run seconds."""
    ends: float | None = None
    """When it will probably be over, in run seconds."""


class Shares(Struct, frozen=True):
    """Where the time of the newest steps went, each 0…1; together 1."""

    data_wait: float
    copy: float | None
    """None where nothing is copied."""
    compute: float
    other: float
    exchange: float | None = None
    """None where one process trains alone."""


class Totals(Struct, frozen=True):
    """Sums over the whole run, in seconds unless a name says otherwise."""

    estimated: bool = False
    """The record is long and was read in part: the sums are estimates."""
    steps: int = 0
    images: float = 0.0
    step_seconds: float = 0.0
    data_wait: float = 0.0
    first_batch_wait: float = 0.0
    copy: float | None = None
    compute: float = 0.0
    other: float = 0.0
    exchange: float | None = None
    peak_vram: int | None = None
    """Bytes: the most that any GPU held, or that the trainer allocated where no GPU could be read."""
    joules: float | None = None
    power_seconds: float = 0.0
    """Time for which the power was known."""
    throttled: dict[str, float] = {}
    """Reason → seconds in which any GPU gave it."""
    bad_images: int = 0
    image_sizes: tuple[int, int] | None = None
    """Side of the first and of the newest training images."""
    lost: int = 0
    """Events that are missing from the record."""
    dropped: int = 0
    """Windows of steps that the trainer could not report."""


class Snapshot(Struct, frozen=True, kw_only=True):
    """All that is known of a run."""

    seq: int = 0
    """Number of the newest event."""
    wall: float = 0.0
    sparse_until: float = 0.0
    """Run second up to which a long record was read in part."""
    elapsed: float = 0.0
    """Seconds of the run up to the newest event; time in which no supervisor ran is left out."""
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
    hints: tuple[Hint, ...] = ()
    judged: bool = False
    """Whether enough was seen for hints: none before that means nothing."""
    tuned: Tuned | None = None
    """The newest change of the running training, and what became of it."""
    tried: tuple[Tuned, ...] = ()
    """The newest 20 that were kept or taken back."""
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
    """Histories over run seconds, by the keys of `gputrain.tui.metrics.metric_table`."""
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
    def epochs(self) -> int | None:
        """Epochs that were asked for."""
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
        """Seconds that the present phase will probably take; None if that is not known, or was wrong."""
        left = self.phase.ends - self.elapsed if self.phase.ends is not None else 0.0
        return left if left > 0 else None

    @property
    def phase_fraction(self) -> float | None:
        """0…1 of the present phase: of its work, else of its probable time."""
        phase, left = self.phase, self.phase_left
        if phase.fraction is not None or left is None:
            return phase.fraction
        spent = self.elapsed - phase.since
        return spent / (spent + left)

    @property
    def run_fraction(self) -> float | None:
        """0…1 of all steps; None until their number is known."""
        if self.model is None or self.model.total_steps <= 0:
            return None
        return min(1.0, self.step / self.model.total_steps)

    @property
    def queue_fill(self) -> float | None:
        """0…1 of the queue between workers and loop."""
        if self.steps is None or self.steps.queue_depth is None or not self.steps.queue_capacity:
            return None
        return min(1.0, self.steps.queue_depth / self.steps.queue_capacity)
