"""Plain text or JSON lines of a run, for pipes, logs, cron and Slurm jobs."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gputrain.engine import events
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import (
    AnyEvent,
    CheckpointSaved,
    CommandTaken,
    DataReady,
    EpochEnded,
    HintsChanged,
    LoaderFound,
    LogLine,
    ModelReady,
    Notice,
    Phase,
    PhaseChanged,
    RunEnded,
    RunStarted,
    ScriptModel,
    StacksTaken,
    Steps,
    Traced,
    Tuned,
    Validated,
)
from gputrain.tui.render import format as fmt
from gputrain.tui.render.advice_text import promise, verdict
from gputrain.tui.render.stacks_text import stacks_line
from gputrain.tui.render.trace_text import trace_line
from gputrain.tui.state import script_values
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.state.run_store import RunStore
from gputrain.tui.state.run_summary import summary, summary_rows

PROGRESS_SECONDS = 5.0
"""Seconds of run time between two progress lines."""
_QUIET_PHASES = (Phase.TRAINING, Phase.SAVING, Phase.WARMING_UP, Phase.VALIDATING, Phase.ENDED)


class PlainLines:
    """Formats events as lines. Uses the time stamps of the events, so that a replay prints what was printed live."""

    def __init__(self) -> None:
        self.store = RunStore()
        self._progress_at = float("-inf")
        self._hints: frozenset[str] = frozenset()

    def take(self, event: AnyEvent) -> Iterator[str]:
        """The lines to print for `event`; often none."""
        self.store.apply(event)
        for text in self._text(event):
            yield f"{fmt.clock(event.wall)} {plain(text, 1000)}"

    def _text(self, event: AnyEvent) -> Iterator[str]:
        match event:
            case RunStarted():
                where = f"{', '.join(event.gpus) or 'no GPU'}, {event.usable_cores:g} cores"
                yield f"run {event.run_id} on {event.host} ({where})"
            case PhaseChanged():
                yield from self._phase(event)
            case DataReady():
                images = f"{fmt.whole(event.train_images)} training and {fmt.whole(event.val_images)} validation images"
                yield f"{images}{fmt.in_classes(event.class_count)}: {event.path}"
            case ModelReady():
                size = f"{fmt.whole(event.parameters)} parameters"
                yield f"{event.model}, {size}, {event.precision} on {fmt.devices(event)}"
            case LogLine() if self.store.snapshot().is_script:
                yield f"| {event.text}"
            case LoaderFound() if event.passes == 1:
                where = f" made at {event.file}:{event.line}" if event.file else ""
                yield f"loader{where}: num_workers={event.num_workers}, batch_size={event.batch_size or '–'}"
            case ScriptModel():
                size = f"{fmt.whole(event.parameters)} parameters"
                yield f"{event.optimizer}, {size}, {event.dtype} on {event.device}, torch {event.torch_version}"
            case Steps():
                yield from self._steps(event)
            case EpochEnded():
                loss = f", loss {fmt.figure(event.train_loss)}" if event.train_loss is not None else ""
                yield (
                    f"epoch {event.epoch + 1} done in {fmt.duration(event.seconds)}: "
                    f"{fmt.rate(event.images_per_second)} {self.store.snapshot().rate_unit}{loss}"
                )
            case Validated():
                named = ", ".join(f"{name} {fmt.metric(name, value)}" for name, value in event.metrics.items())
                yield f"validation: {named}{' (best so far)' if event.best else ''}"
            case CheckpointSaved():
                yield f"checkpoint {event.file}: {fmt.size(event.bytes)} in {event.seconds:.2f} s"
            case Notice():
                yield f"{event.level}: {event.text}" if event.level != "info" else event.text
            case HintsChanged():
                yield from self._new_hints(event)
            case Tuned():
                yield verdict(event)
            case Traced():
                yield trace_line(event)
            case StacksTaken():
                yield stacks_line(event)
            case CommandTaken():
                yield f"command from {event.sender or 'unknown'}: {event.command} ({event.answer})"
            case RunEnded():
                yield from self._end(event)
            case _:
                pass

    def _phase(self, event: PhaseChanged) -> Iterator[str]:
        if event.done is None:
            if event.phase not in _QUIET_PHASES:
                took = f", {fmt.duration(event.eta_seconds)} last time" if event.eta_seconds else ""
                yield event.phase.value + (f": {event.detail}" if event.detail else "") + took
        elif self._due(event) or event.done == event.total:
            of = f" of {fmt.whole(event.total)}" if event.total else ""
            left = f", {fmt.duration(event.eta_seconds)} left" if event.eta_seconds else ""
            yield f"{event.phase.value}: {fmt.whole(event.done)}{of} {event.unit}{left}"

    def _steps(self, event: Steps) -> Iterator[str]:
        if not self._due(event):
            return
        now = self.store.snapshot()
        if now.is_script:
            yield _script_steps(now, event)
            return
        speed = f"{fmt.rate(now.images_per_second)} {now.rate_unit}"
        yield (
            f"epoch {event.epoch + 1}{'/' + str(now.epochs) if now.epochs else ''}  step {fmt.whole(event.step)}"
            f"  {speed}  loss {fmt.figure(now.loss)}  lr {fmt.figure(event.lr)}"
            f"{_data_wait(now)}  ETA {fmt.duration(now.eta_run)}"
        )

    def _due(self, event: AnyEvent) -> bool:
        # The monotonic clock restarts if the run was resumed after a reboot.
        if 0 <= event.mono - self._progress_at < PROGRESS_SECONDS:
            return False
        self._progress_at = event.mono
        return True

    def _new_hints(self, event: HintsChanged) -> Iterator[str]:
        for hint in event.hints:
            if hint.id not in self._hints:
                expected = f" Expected: {promise(hint.prediction)}." if hint.prediction is not None else ""
                yield f"hint ({hint.severity}): {hint.title}. → {hint.action}{expected} Evidence: {hint.evidence}"
        self._hints = frozenset(hint.id for hint in event.hints)

    def _end(self, event: RunEnded) -> Iterator[str]:
        yield fmt.end(event.outcome.value, event.reason)
        yield from event.traceback.splitlines()

    def summary_lines(self, directory: str) -> list[str]:
        """The end-of-run summary, one title and value per line."""
        rows = summary_rows(summary(self.store.snapshot()), directory)
        return [f"  {title:<14} {plain(value, 500)}" for title, value in rows]


def _script_steps(now: Snapshot, event: Steps) -> str:
    """What is known of a script of the user's own."""
    loss = f"  loss {fmt.figure(now.loss)}" if now.loss is not None else ""
    rate = f"  lr {fmt.figure(event.lr)}" if event.lr > 0 else ""
    wait = "  wait unknown" if event.wait_unknown else _data_wait(now)
    words = f"{script_values.epoch_words(now)}  {script_values.progress(now)}".strip()
    return f"{words}  {fmt.rate(now.images_per_second)} {now.rate_unit}{loss}{rate}{wait}"


def _data_wait(now: Snapshot) -> str:
    return f"  waits {fmt.share(now.shares.data_wait)}" if now.shares is not None else ""


class JsonLines:
    """The events of the run as JSON, unchanged, then the summary as the last line."""

    def __init__(self) -> None:
        self.store = RunStore()

    def take(self, event: AnyEvent) -> Iterator[str]:
        """The event as one JSON line."""
        self.store.apply(event)
        yield events.encode(event).decode()

    def summary_lines(self, directory: str) -> list[str]:
        """The summary as one JSON object of type ``summary``."""
        result = msgspec.to_builtins(summary(self.store.snapshot()))
        return [msgspec.json.encode({"type": "summary", **result, "directory": plain(directory)}).decode()]
