"""Other settings for a script's DataLoader, tried while it runs: measured, then kept or reverted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import Unit
from gputrain.engine.events import AnyEvent, LoaderFound, LoaderStats, Steps, Tuned
from gputrain.engine.events.commands import TuneCommand
from gputrain.engine.probe import layout
from gputrain.engine.shared_loop.keep_or_revert import MeasuredRate, RateMeter, Verdict, tuned, worth_keeping
from gputrain.engine.user_script.page_reader import MappedPage

SCRIPT_SETTINGS = ("num_workers", "prefetch_factor", "persistent_workers", "pin_memory")
"""Arguments of a DataLoader that can be changed while it is read."""
AUTOTUNE = "autotune"
"""Sender of changes that nobody asked for."""
_LEAST_WINDOWS = 8
"""Windows of steps that a rate is taken from."""
_UNANSWERED = 50
"""Updates without an answer after which a request is withdrawn; a script answers when it fetches a batch."""
_UNANSWERED_SECONDS = 10.0
_SPARE = 2
_SLOTS = {
    "num_workers": layout.WANTED_WORKERS,
    "prefetch_factor": layout.WANTED_PREFETCH,
    "persistent_workers": layout.WANTED_PERSISTENT,
    "pin_memory": layout.WANTED_PIN,
}


@dataclass(slots=True)
class _Trial:
    tune: TuneCommand
    was: dict[str, Any]
    number: float
    before: MeasuredRate
    settle: float
    """Updates that are left out yet: the old workers made their batches, or they wait for the start of the new ones;
    counted from the answer on."""
    unanswered: float = 0.0
    """Updates since the request."""
    seconds: float = 0.0
    """What they took."""
    after: RateMeter | None = None
    """None until the script has answered."""
    reverting: bool = False


class ScriptTuner:
    """One change at a time, of the process whose steps are the run's."""

    def __init__(self) -> None:
        self._loader: LoaderFound | None = None
        self._pace = RateMeter()
        self._trial: _Trial | None = None
        self._number = 0.0
        self._step = 0
        self._unit: Unit = "samples"
        self._draws = False
        """Making a batch draws random numbers."""

    def feed(self, event: AnyEvent) -> list[AnyEvent]:
        """Learn from an event of the script; returns what is to be reported."""
        match event:
            case LoaderFound():
                self._loader = event
            case LoaderStats():
                self._draws = self._draws or event.draws
            case Steps() if event.window_seconds > 0:
                self._step, self._unit = event.step, event.unit
                return self._count(event)
        return []

    def ask(self, tune: TuneCommand, page: MappedPage | None) -> Tuned | None:
        """Ask the script for a change; returns the refusal, or None if it was asked."""
        never = self._never(tune, page)
        why = never or self._not_yet()
        if why or page is None or self._loader is None:
            return self._event("refused", tune, {}, text=why, later=not never)
        was = {name: getattr(self._loader, name) for name in tune.changes}
        old = self._loader.num_workers * (self._loader.prefetch_factor or 2)
        settle = old + tune.changes.get("num_workers", self._loader.num_workers) + _SPARE
        self._trial = _Trial(tune, was, self._write(page, tune.changes), self._pace.rate(_LEAST_WINDOWS), settle)
        return None

    def _never(self, tune: TuneCommand, page: MappedPage | None) -> str:
        others = [name for name in tune.changes if name not in SCRIPT_SETTINGS]
        if others or not tune.changes:
            return f"{', '.join(others) or 'nothing'} can't be changed in a running script"
        if page is None or self._loader is None:
            return "the script reads no DataLoader"
        if self._loader.iterable:
            return "an IterableDataset gives other samples with another number of workers"
        if tune.sender == AUTOTUNE and not self._loader.order_kept:
            return "the sampler may draw while it is read: other workers might change the order"
        if tune.sender == AUTOTUNE and self._draws:
            return "the data set draws random numbers: other workers would augment the same samples differently"
        if all(getattr(self._loader, name) == value for name, value in tune.changes.items()):
            return "that is how it is already"
        return ""

    def _not_yet(self) -> str:
        if self._trial is not None:
            return "another change is being tried"
        if not self._pace.enough(_LEAST_WINDOWS):
            return "too few steps so far to compare with; ask again in a moment"
        return ""

    def _write(self, page: MappedPage, changes: dict[str, Any]) -> float:
        self._number += 1
        for name, slot in _SLOTS.items():
            page.slots[slot] = float(changes[name]) if name in changes else -1.0
        known = self._loader.batches if self._loader is not None else None
        page.slots[layout.WANTED_BATCHES] = float(known or 0)
        page.slots[layout.WANTED] = self._number
        return self._number

    def answered(self, line: dict[str, Any]) -> list[AnyEvent]:
        """The script's answer to a request, a line of its page."""
        trial = self._trial
        if trial is None or line.get("number") != trial.number:
            return []
        if "refused" in line:
            self._trial = None
            if trial.after is not None and not trial.reverting:
                # It was in effect, and then its workers could not be started.
                self._set(trial.was)
            return [self._event("refused", trial.tune, {}, text=plain(str(line["refused"]), 300))]
        self._set(trial.was if trial.reverting else trial.tune.changes)
        self._pace = RateMeter()
        if trial.reverting:
            self._trial = None
            return []
        trial.after = RateMeter()
        return [self._event("trying", trial.tune, trial.was)]

    def _set(self, values: dict[str, Any]) -> None:
        if self._loader is not None:
            self._loader = msgspec.structs.replace(self._loader, **values)

    def _count(self, event: Steps) -> list[AnyEvent]:
        images = round(event.images_per_second * event.window_seconds)
        trial = self._trial
        if trial is None or trial.after is None:
            self._pace.updates.append((event.window_seconds, images))
            if trial is not None:
                trial.unanswered += event.window_steps
                trial.seconds += event.window_seconds
            return []
        if trial.settle > 0:
            trial.settle -= event.window_steps
            return []
        trial.after.updates.append((event.window_seconds, images))
        return []

    def judge(self, page: MappedPage | None) -> list[AnyEvent]:
        """Keep or revert the change that is being tried, once enough was measured."""
        trial = self._trial
        if trial is None:
            return []
        if trial.unanswered >= _UNANSWERED and trial.seconds >= _UNANSWERED_SECONDS:
            return self._withdrawn(trial, page)
        if trial.after is None or trial.reverting or not trial.after.enough(_LEAST_WINDOWS):
            return []
        after = trial.after.rate(_LEAST_WINDOWS)
        keep = worth_keeping(trial.before, after, trial.tune.aim)
        verdict = self._event("kept" if keep else "reverted", trial.tune, trial.was, (trial.before, after))
        self._pace = trial.after if keep else RateMeter()
        if keep or page is None:
            self._trial = None
        else:
            trial.reverting, trial.number = True, self._write(page, trial.was)
        return [verdict]

    def _withdrawn(self, trial: _Trial, page: MappedPage | None) -> list[AnyEvent]:
        self._trial = None
        if page is not None:
            page.slots[layout.WANTED] = page.slots[layout.ANSWERED]
        text = f"no batch was fetched from the loader in {trial.unanswered:.0f} updates: the script keeps its batches"
        return [self._event("refused", trial.tune, {}, text=text, later=True)]

    def _event(
        self,
        verdict: Verdict,
        tune: TuneCommand,
        was: dict[str, Any],
        rates: tuple[MeasuredRate, MeasuredRate] | None = None,
        text: str = "",
        *,
        later: bool = False,
    ) -> Tuned:
        return tuned(verdict, tune, was, self._step, rates, unit=self._unit, text=text, later=later)
