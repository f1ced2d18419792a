"""Builds the state of a run from its events. Pure: no clock, no files, no screen.

The same events always give the same snapshot, independent of batching and of the number of snapshots. So a replay
shows what the live view showed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from msgspec.structs import replace

from gputrain.engine.events import (
    AnyEvent,
    CheckpointSaved,
    CommandTaken,
    DataReady,
    EpochEnded,
    HardwareSample,
    HintsChanged,
    LoaderFound,
    LoaderStats,
    LogLine,
    ModelReady,
    NodeSample,
    Notice,
    Outcome,
    Phase,
    PhaseChanged,
    RankSteps,
    RunEnded,
    RunStarted,
    Scalars,
    ScriptModel,
    StacksTaken,
    Steps,
    Traced,
    Tuned,
    Validated,
)
from gputrain.engine.monitor.energy import Energy
from gputrain.tui.charts.value_history import DownsampledHistory
from gputrain.tui.render import format as fmt
from gputrain.tui.render.advice_text import verdict
from gputrain.tui.render.stacks_text import stacks_line
from gputrain.tui.render.trace_text import trace_line
from gputrain.tui.state import metric_values
from gputrain.tui.state.eta import Eta
from gputrain.tui.state.rank_history import RankHistory
from gputrain.tui.state.run_snapshot import Entry, EntryKind, PhaseState, Snapshot
from gputrain.tui.state.run_totals import RunTotals
from gputrain.tui.state.step_shares import rate_of

RATE_SECONDS = 10.0
"""Length in seconds of the window of steps for the shown rate and shares."""
_JOURNAL = 2000
_END_KINDS: dict[Outcome, EntryKind] = {
    Outcome.FINISHED: "good",
    # On request: no error.
    Outcome.STOPPED: "info",
    Outcome.FAILED: "error",
    Outcome.KILLED: "error",
}
_VALIDATIONS = 1000
_TRIED = 20
_SCALARS = 24
"""Curves of scalars that a script logs; more of them are shown by their newest value alone."""
_SCALARS_KEPT = 200
"""Names; a script that makes a new one at each step keeps the first."""


_GPUS = 16
"""Most GPUs that get their own curves."""


class RunStore:
    """Takes the events of a run in order; `snapshot` returns the state so far."""

    def __init__(self) -> None:
        self._now = Snapshot()
        self._totals = RunTotals()
        self._clock_offset: float | None = None
        self._mono = 0.0
        self._windows: deque[Steps] = deque()
        self._eta = Eta()
        self._curves: dict[str, DownsampledHistory] = {}
        self._journal: deque[Entry] = deque(maxlen=_JOURNAL)
        self._journal_count = 0
        self._frozen_journal: tuple[Entry, ...] | None = ()
        self._scalar_names: set[str] = set()
        self._validations: deque[Validated] = deque(maxlen=_VALIDATIONS)
        self._ranks = RankHistory()

    def apply(self, event: AnyEvent, *, sparse: bool = False) -> None:
        """Take one event. `sparse`: it also stands for skipped events before it."""
        self._totals.update(event, sparse=sparse)
        self._eta.update(event)
        self._tick(event)
        self._now = replace(self._now, seq=event.seq, wall=event.wall, elapsed=self._elapsed(event))
        if sparse:
            self._now = replace(self._now, sparse_until=self._now.elapsed)
        match event:
            case Steps():
                self._on_steps(event)
            case RankSteps():
                self._ranks.take(event, self._now.elapsed)
            case NodeSample():
                samples = {**self._now.node_samples, event.host: event}
                self._now = replace(self._now, node_samples=samples)
            case HardwareSample():
                self._on_hardware(event)
            case PhaseChanged():
                self._now = replace(self._now, phase=self._phase(event))
            case LoaderStats():
                self._on_loader(event)
            case RunStarted() | DataReady() | ModelReady():
                self._on_start(event)
            case LoaderFound() | ScriptModel() | Scalars():
                self._on_script(event)
            case HintsChanged():
                self._now = replace(self._now, hints=event.hints, judged=True)
            case Tuned():
                self._on_tuned(event)
            case Traced():
                self._now = replace(self._now, traced=event)
                self._log(event, "warning" if event.verdict in ("failed", "refused") else "info", trace_line(event))
            case StacksTaken():
                self._now = replace(self._now, stacks=event)
                self._log(event, "info", stacks_line(event))
            case EpochEnded() | Validated() | CheckpointSaved():
                self._on_milestone(event)
            case LogLine() | Notice() | CommandTaken():
                self._on_message(event)
            case RunEnded():
                self._on_end(event)

    def apply_all(self, events: Iterable[AnyEvent], sparse_until: int = 0) -> None:
        """Take several events in order; up to sequence number `sparse_until` some were skipped."""
        for event in events:
            self.apply(event, sparse=event.seq <= sparse_until)

    def snapshot(self) -> Snapshot:
        """The state now. Does not change the store."""
        if self._frozen_journal is None:
            self._frozen_journal = tuple(self._journal)
        rate, shares = rate_of(self._windows)
        eta_epoch, eta_run = self._eta.left(self._now)
        return replace(
            self._now,
            totals=self._totals.totals(),
            images_per_second=rate,
            shares=shares,
            ranks=self._ranks.ranks(),
            eta_epoch=eta_epoch,
            eta_run=eta_run,
            journal=self._frozen_journal,
            journal_count=self._journal_count,
            validations=tuple(self._validations),
            curves={key: thinned.curve() for key, thinned in self._curves.items()},
        )

    def _on_tuned(self, event: Tuned) -> None:
        tried = self._now.tried
        if event.verdict in ("kept", "reverted"):
            tried = (*tried, event)[-_TRIED:]
        self._now = replace(self._now, tuned=event, tried=tried)
        self._log(event, "good" if event.verdict == "kept" else "info", verdict(event))

    # Time: the monotonic clock restarts at every boot, and continues between two supervisors of a run.

    def _tick(self, event: AnyEvent) -> None:
        if self._clock_offset is None or isinstance(event, RunStarted) or event.mono < self._mono:
            self._clock_offset = self._now.elapsed - event.mono
        self._mono = event.mono

    def _elapsed(self, event: AnyEvent) -> float:
        assert self._clock_offset is not None
        return max(self._now.elapsed, event.mono + self._clock_offset)

    def _on_start(self, event: RunStarted | DataReady | ModelReady) -> None:
        match event:
            case RunStarted():
                phase = PhaseState(since=self._now.elapsed)
                self._now = replace(self._now, started=event, phase=phase, outcome=None, judged=False)
                self._log(event, "info", f"run {event.run_id} on {event.host or 'this host'}")
            case DataReady():
                self._now = replace(self._now, data=event)
                counts = f"{fmt.whole(event.train_images)} training and {fmt.whole(event.val_images)} validation"
                self._log(event, "info", f"data: {counts} images{fmt.in_classes(event.class_count)}")
            case ModelReady():
                self._now = replace(self._now, model=event)
                self._ranks.restart(event.host, self._now.elapsed)
                name = f"{event.model}, {fmt.whole(event.parameters)} parameters"
                self._log(event, "info", f"model: {name}, {event.precision} on {fmt.devices(event)}")

    def _on_script(self, event: LoaderFound | ScriptModel | Scalars) -> None:
        """What is learned of a script of the user's own."""
        match event:
            case LoaderFound():
                if event != self._now.loader_found and event.passes == 1:
                    where = f" made at {event.file}:{event.line}" if event.file else ""
                    batches = f"{fmt.whole(event.batches)} batches" if event.batches is not None else "no length"
                    self._log(event, "info", f"loader{where}: {batches}, num_workers={event.num_workers}")
                self._now = replace(self._now, loader_found=event)
            case ScriptModel():
                self._now = replace(self._now, script_model=event)
                what = f"{fmt.whole(event.parameters)} parameters on {event.device}"
                self._log(event, "info", f"optimizer: {event.optimizer}, {what}, torch {event.torch_version}")
            case Scalars():
                merged = {**self._now.scalars, **event.values}
                self._now = replace(self._now, scalars=dict(list(merged.items())[:_SCALARS_KEPT]))
                for name, value in list(event.values.items())[:_SCALARS]:
                    if len(self._scalar_names) < _SCALARS or name in self._scalar_names:
                        self._scalar_names.add(name)
                        self._add(f"scalar {name}", value)

    def _phase(self, event: PhaseChanged) -> PhaseState:
        before = self._now.phase
        since = before.since if before.phase is event.phase else self._now.elapsed
        fraction = None
        if event.done is not None and event.total:
            fraction = min(1.0, max(0.0, event.done / event.total))
        eta = event.eta_seconds
        spent = self._now.elapsed - since
        if eta is None and fraction and spent > 0:
            eta = spent * (1 - fraction) / fraction
        ends = self._now.elapsed + eta if eta is not None else None
        return PhaseState(event.phase, event.detail, fraction, event.done, event.total, event.unit, since, ends)

    # Step metrics.

    def _on_steps(self, event: Steps) -> None:
        self._now = replace(self._now, steps=event, loss=self._now.loss if event.loss is None else event.loss)
        if event.exchange is not None:
            self._ranks.take(event, self._now.elapsed)
        self._windows.append(event)
        held = sum(window.window_seconds for window in self._windows)
        while len(self._windows) > 1 and (
            held - self._windows[0].window_seconds >= RATE_SECONDS or len(self._windows) > 200
        ):
            held -= self._windows.popleft().window_seconds
        if event.window_steps > 0 and event.window_seconds > 0:
            self._add("images_per_second", event.images_per_second or None, event.window_seconds)
            if not event.wait_unknown:
                self._add("data_wait", event.data_wait / event.window_seconds, event.window_seconds)
        self._add("loss", event.loss)
        self._add("lr", event.lr)
        self._add("queue", self._now.queue_fill)

    def _add(
        self,
        key: str,
        value: float | None,
        weight: float = 1.0,
        step: float = 1.0,
        extremes: tuple[float, float] | None = None,
    ) -> None:
        if value is not None and math.isfinite(value):
            if key not in self._curves:
                self._curves[key] = DownsampledHistory(step)
            self._curves[key].add(self._now.elapsed, value, weight, extremes)

    # The machine.

    def _on_hardware(self, event: HardwareSample) -> None:
        self._now = replace(self._now, hardware=event)
        self._add("cpu", event.cpu_percent)
        if event.ram_total and event.ram_available is not None:
            self._add("ram", (1 - event.ram_available / event.ram_total) * 100)
        if event.disk is not None:
            self._add("disk_read", event.disk.read_rate)
            self._add("disk_write", event.disk.write_rate)
        for key in ("gpu", "vram", "temperature"):
            values = metric_values.of_gpus(event, key)
            if values:
                self._add(key, sum(values) / len(values), extremes=(min(values), max(values)))
        if len(event.gpus) > 1:
            for gpu in event.gpus[:_GPUS]:
                self._add(f"gpu{gpu.index}", gpu.utilization)
        watts = [gpu.power for gpu in event.gpus if gpu.power is not None]
        if watts:
            self._add("power", sum(watts))

    def _on_loader(self, event: LoaderStats) -> None:
        self._now = replace(self._now, loader=event)
        for example in event.bad_examples:
            self._log(event, "warning", f"unreadable image: {example}")

    # Events for the log.

    def _on_milestone(self, event: EpochEnded | Validated | CheckpointSaved) -> None:
        match event:
            case EpochEnded():
                loss = f", loss {fmt.figure(event.train_loss)}" if event.train_loss is not None else ""
                took = f"{fmt.duration(event.seconds)}, {fmt.rate(event.images_per_second)} {self._now.rate_unit}"
                joules = Energy(event.gpu_joules, event.cpu_joules).total
                used = f", {fmt.energy(joules)}" if joules is not None else ""
                self._log(event, "info", f"epoch {event.epoch + 1}: {took}{loss}{used}")
            case Validated():
                self._validations.append(event)
                for name, value in event.metrics.items():
                    self._add(f"val_{name}", value, step=0.0)
                if event.best:
                    self._now = replace(self._now, best=event)
                values = ", ".join(f"{name} {fmt.metric(name, value)}" for name, value in event.metrics.items())
                mark = " ★ best so far" if event.best else ""
                self._log(event, "good" if event.best else "info", f"validation {event.epoch + 1}: {values}{mark}")
            case CheckpointSaved():
                kept = (*self._now.checkpoints, event)[-20:]
                count = self._now.checkpoint_count + 1
                self._now = replace(self._now, checkpoints=kept, checkpoint_count=count)
                cost = f"{fmt.size(event.bytes)} in {event.seconds:.1f} s"
                self._log(event, "info", f"checkpoint {event.file} at step {fmt.whole(event.step)}: {cost}")

    def _on_message(self, event: LogLine | Notice | CommandTaken) -> None:
        match event:
            case LogLine():
                if event.skipped:
                    self._log(event, "info", f"{fmt.whole(event.skipped)} lines skipped: too many per second")
                self._log(event, "log", event.text)
            case Notice():
                self._log(event, event.level, event.text)
            case CommandTaken():
                sender = f" by {event.sender}" if event.sender else ""
                self._log(event, "info", f"command{sender}: {event.command}: {event.answer}")

    def _on_end(self, event: RunEnded) -> None:
        phase = PhaseState(Phase.ENDED, since=self._now.elapsed)
        self._now = replace(self._now, outcome=event, phase=phase, hints=())
        self._log(event, _END_KINDS[event.outcome], fmt.end(event.outcome.value, event.reason))

    def _log(self, event: AnyEvent, kind: EntryKind, text: str) -> None:
        self._journal.append(Entry(event.wall, kind, text))
        self._journal_count += 1
        self._frozen_journal = None
