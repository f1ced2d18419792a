"""One training process of a script, from its page to events: its steps, its loader, what it logs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import Unit
from gputrain.engine.events import AnyEvent, LoaderFound, Notice, RankSteps, Scalars, ScriptModel, Steps, Traced
from gputrain.engine.events.commands import ProfileCommand
from gputrain.engine.probe import layout
from gputrain.engine.user_script.page_reader import MappedPage
from gputrain.engine.user_script.readings import StepSums, step_sums
from gputrain.engine.user_script.script_command import ScriptCommand

WINDOW_SECONDS = 0.5
"""Least length of a window of steps; a longer step makes a longer one."""


class ScriptRank:
    """One process that trains."""

    def __init__(self, page: MappedPage) -> None:
        self.page = page
        self.number = max(0, int(page.slots[layout.RANK]))
        self.ranked = page.slots[layout.RANK] >= 0 and page.slots[layout.WORLD] > 1
        """It is one of several ranks of one training."""
        self._taken = StepSums()
        self._own: float | None = None
        self._loaders: dict[tuple[str, int], dict[str, Any]] = {}
        self._training: dict[str, Any] | None = None
        self._optimizer: dict[str, Any] | None = None
        self._unit: Unit | None = None
        self._told_nonfinite = False
        self.answers: list[dict[str, Any]] = []
        """What the script said to requests, to be taken."""

    def said(self) -> list[AnyEvent]:
        """What the probe wrote in words."""
        found: list[AnyEvent] = []
        for line in self.page.lines():
            match line.get("kind"):
                case "loader":
                    found += self._on_loader(line)
                case "optimizer" if self.number == 0:
                    self._optimizer = line
                    found.append(_model(line, self.page))
                case "scalars" if self.number == 0:
                    found += self._on_scalars(line)
                case "nonfinite" if self.number == 0:
                    found += self._on_nonfinite(line)
                case "change":
                    self.answers.append(line)
                case "trace":
                    found += _traced(line)
                case "disabled":
                    found.append(failure_notice(line))
        slots = self.page.slots
        if self.number == 0 and slots[layout.LOSS_UPDATE] >= 0 and not math.isfinite(slots[layout.LOSS]):
            found += self._nonfinite("the loss", slots[layout.LOSS_UPDATE])
        return found

    def introduced(self) -> list[AnyEvent]:
        """Its loader and its optimizer once more: others may have said theirs since."""
        loader = [_loader_found(self._training)] if self._training is not None else []
        return [*loader, *([_model(self._optimizer, self.page)] if self._optimizer is not None else [])]

    def trace(self, command: ProfileCommand, folder: Path) -> list[AnyEvent]:
        """Ask the process for a trace by a file in `folder`; returns the refusal, if that is impossible."""
        number = self.page.slots[layout.TRACE_WANTED] + 1
        request = {"id": command.id, "path": command.path, "steps": command.steps}
        try:
            (folder / f"trace-{number:.0f}.json").write_text(json.dumps(request))
        except OSError as error:
            return [Traced(request=command.id, verdict="failed", text=f"{folder}: {error.strerror}")]
        self.page.slots[layout.TRACE_WANTED] = number
        return []

    def _on_loader(self, line: dict[str, Any]) -> list[AnyEvent]:
        if not line.get("grad"):
            return []
        self._training = line
        return [_loader_found(line)] if self.number == 0 else []

    def _on_scalars(self, line: dict[str, Any]) -> list[AnyEvent]:
        values = {
            plain(str(name), 100): float(value)
            for name, value in dict(line.get("values") or {}).items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        if not values:
            return []
        step = line.get("step")
        return [
            Scalars(
                source=plain(str(line.get("source")), 40),
                values=values,
                step=int(step) if isinstance(step, int | float) and math.isfinite(step) else None,
            )
        ]

    def _on_nonfinite(self, line: dict[str, Any]) -> list[AnyEvent]:
        names = [plain(str(name), 100) for name in list(line.get("names") or ()) if "loss" in str(name).lower()]
        return self._nonfinite(names[0], line.get("step")) if names else []

    def _nonfinite(self, name: str, step: object) -> list[AnyEvent]:
        """Once. `AlertRules` knows the words."""
        if self._told_nonfinite:
            return []
        self._told_nonfinite = True
        at = f" at step {step:.0f}" if isinstance(step, int | float) and math.isfinite(step) else ""
        text = f"{name} is NaN or Inf{at}: lower the learning rate, clip the gradients, or look for bad samples"
        return [Notice(level="warning", text=text, source="trainer")]

    @property
    def own_seconds(self) -> float | None:
        """Seconds of a step in which this rank waits for no other one: for data, and to its backward pass; None without
        steps. On a GPU the host's clock tells the wait for data alone."""
        return self._own

    def why_unknown(self) -> str:
        """Why nothing is known of what the loop waits for; empty: it is known."""
        slots = self.page.slots
        if slots[layout.INSIDE] > 0 and slots[layout.LOADERS] == 0:
            return "Keras fetches a batch inside the compiled step"
        if slots[layout.LOADERS] == 0:
            return "the script reads no DataLoader of torch"
        if slots[layout.THREADED] > 0:
            return "another thread reads the DataLoader and hands its batches over"
        if slots[layout.DRY] >= layout.DRY_UPDATES:
            return "the script trains on batches that it keeps, as itertools.cycle does"
        return ""

    def window(self, least: float = WINDOW_SECONDS) -> StepSums | None:
        """The sums since the last window; None without a step, or while it has less than `least` seconds."""
        sums = step_sums(self.page)
        window = sums.since(self._taken)
        if window.updates <= 0 or window.seconds < least:
            return None
        self._taken = sums
        cuda = self.page.slots[layout.ON_CUDA] > 0
        self._own = (window.wait + (0.0 if cuda else window.forward)) / window.updates
        return window

    def events(self, window: StepSums, leader: ScriptRank, slowest: float | None, command: ScriptCommand) -> AnyEvent:
        """The steps of a window. `slowest`: the own seconds of the rank that has most; None: it trains alone."""
        exchange = None
        if slowest is not None and self._own is not None:
            # The others wait for it in their backward passes.
            exchange = min(window.seconds, (slowest - self._own) * window.updates)
        if self is leader:
            return self._steps(step_sums(self.page), window, exchange, command)
        return RankSteps(
            rank=self.number,
            window_steps=round(window.updates),
            window_seconds=window.seconds,
            data_wait=window.wait,
            compute=max(0.0, window.compute - (exchange or 0.0)),
            exchange=exchange or 0.0,
        )

    def epoch(self) -> tuple[int, int, int | None]:
        """The epoch from 0, the batch in it, and its batches where the framework says so."""
        slots = self.page.slots
        batch = round(slots[layout.EPOCH_BATCHES])
        if slots[layout.EPOCH] > 0:
            return round(slots[layout.EPOCH]) - 1, batch, round(slots[layout.EPOCH_LENGTH]) or None
        line = self._training or {}
        epoch, length = max(0, int(line.get("passes", 1)) - 1), int(line.get("length") or 0)
        if length > 0 and batch > length and not line.get("iterable"):
            # An iterator that never ends, as those of ultralytics and timm.
            epoch, batch = epoch + (batch - 1) // length, (batch - 1) % length + 1
        return epoch, batch, None

    def _counted(self, sums: StepSums, command: ScriptCommand) -> tuple[Unit, float]:
        """What is counted, and how much of it there is in `sums`. The first window decides, so that sums stay sums."""
        if command.per_step:
            return command.unit, sums.updates * command.per_step
        if self._unit is None:
            self._unit = "samples" if sums.samples > 0 else "steps"
        return self._unit, sums.samples if self._unit == "samples" else sums.updates

    def _steps(self, sums: StepSums, window: StepSums, exchange: float | None, command: ScriptCommand) -> Steps:
        slots = self.page.slots
        unit, images = self._counted(sums, command)
        _, in_window = self._counted(window, command)
        compute = window.compute
        if window.device_host_seconds > 0:
            compute = min(window.seconds, window.device_seconds / window.device_host_seconds * window.seconds)
        compute = min(compute, max(0.0, window.seconds - window.wait))
        epoch, batch, batches = self.epoch()
        cuda = slots[layout.ON_CUDA] > 0
        return Steps(
            step=round(sums.updates),
            epoch=epoch,
            epoch_step=batch,
            epoch_batches=batches,
            images=round(images),
            window_steps=round(window.updates),
            window_seconds=window.seconds,
            images_per_second=in_window / window.seconds if window.seconds else 0.0,
            unit=unit,
            loader_samples=window.samples if unit != "samples" else None,
            loss=slots[layout.LOSS] if slots[layout.LOSS_UPDATE] >= 0 and math.isfinite(slots[layout.LOSS]) else None,
            lr=slots[layout.LEARNING_RATE],
            data_wait=min(window.wait, window.seconds),
            skipped=round(window.skipped),
            validation_batches=round(slots[layout.VALIDATION_BATCHES]),
            validation_seconds=slots[layout.VALIDATION_SECONDS],
            wait_unknown=bool(self.why_unknown()),
            exchange=exchange,
            copy=None,
            compute=max(0.0, compute - (exchange or 0.0)),
            other=max(0.0, window.seconds - window.wait - compute),
            first_batch_wait=window.first_wait,
            wait_squares=window.wait_squares,
            vram_allocated=round(slots[layout.VRAM_ALLOCATED]) if cuda else None,
            vram_reserved=round(slots[layout.VRAM_RESERVED]) if cuda else None,
            vram_peak=round(slots[layout.VRAM_PEAK]) if cuda else None,
            alloc_retries=round(slots[layout.ALLOC_RETRIES]) if cuda else None,
        )


def _traced(line: dict[str, Any]) -> list[AnyEvent]:
    verdict, steps = line.get("verdict"), line.get("steps")
    if verdict not in ("recording", "written", "failed") or not isinstance(steps, int):
        return []
    return [
        Traced(
            request=plain(str(line.get("request")), 64),
            verdict=verdict,
            steps=steps,
            text=plain(str(line.get("text") or ""), 500),
        )
    ]


def failure_notice(line: dict[str, Any]) -> Notice:
    """What is said of a part of the probe that switched itself off."""
    text = f"a hook in the script failed and is off: {plain(str(line.get('hook')), 80)}: "
    return Notice(level="warning", text=text + plain(str(line.get("why")), 200), source="trainer")


def _loader_found(line: dict[str, Any]) -> LoaderFound:
    length = line.get("length")
    return LoaderFound(
        file=plain(str(line.get("file") or ""), 500),
        line=int(line.get("line") or 0),
        kind=plain(str(line.get("type") or ""), 200),
        passes=int(line.get("passes") or 1),
        num_workers=int(line.get("workers") or 0),
        prefetch_factor=line.get("prefetch") if isinstance(line.get("prefetch"), int) else None,
        persistent_workers=bool(line.get("persistent")),
        pin_memory=bool(line.get("pin_memory")),
        batch_size=line.get("batch_size") if isinstance(line.get("batch_size"), int) else None,
        batches=int(length) if isinstance(length, int | float) and length >= 0 else None,
        order_kept=bool(line.get("order_kept")),
        iterable=bool(line.get("iterable")),
        framework=plain(str(line.get("framework") or ""), 40),
        started_twice=plain(str(line.get("twice") or ""), 40),
    )


def _model(line: dict[str, Any], page: MappedPage) -> ScriptModel:
    return ScriptModel(
        optimizer=plain(str(line.get("type") or ""), 100),
        parameters=int(line.get("parameters") or 0),
        device=plain(str(line.get("device") or ""), 40),
        dtype=plain(str(line.get("dtype") or ""), 40).removeprefix("torch."),
        torch_version=plain(str(line.get("torch") or ""), 80),
        cuda_version=plain(str(line.get("cuda") or ""), 40),
        trainer_pid=page.pid,
        ranks=max(1, int(page.slots[layout.WORLD])),
    )
