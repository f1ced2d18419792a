"""From the pages of a script's processes to the events of a run: the same ones that our own trainer sends."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from gputrain.engine.common.sanitize import plain
from gputrain.engine.dataloading.lock_waits import LockWaitSampler
from gputrain.engine.events import (
    AnyEvent,
    LoaderFound,
    LoaderStats,
    Notice,
    Phase,
    PhaseChanged,
    RankSteps,
    Scalars,
    ScriptModel,
    Steps,
    Tuned,
)
from gputrain.engine.events.commands import TuneCommand
from gputrain.engine.probe import layout
from gputrain.engine.user_script.page_reader import MappedPage, PageFolder
from gputrain.engine.user_script.readings import StepSums, WorkerSums, slowest_sample, step_sums, total, worker_sums
from gputrain.engine.user_script.script_tuner import ScriptTuner

WINDOW_SECONDS = 0.5
"""Least length of a window of steps; a longer step makes a longer one."""
LOADER_SECONDS = 1.0
SILENT_SECONDS = 60.0
"""Without a step for so long it is said that there is only monitoring, and why."""


class ScriptEvents:
    """Reads all pages of one script. Times are seconds of the monotonic clock."""

    def __init__(self, folder: PageFolder, images_per_step: int, began: float) -> None:
        """`images_per_step`: samples of an update as the user says; 0: they are counted."""
        self._folder = folder
        self._images_per_step = images_per_step
        self._began = began
        self._ranks: dict[int, _Rank] = {}
        self._phase = Phase.STARTING
        self._loader_at = began
        self._workers = WorkerSums()
        self._ended_workers = WorkerSums()
        self._locks = LockWaitSampler(threads=False)
        self._told_silent = False
        self.tuner = ScriptTuner()

    @property
    def trains(self) -> set[int]:
        """Processes that made an update."""
        return {page.pid for page in self._folder.scan() if not page.is_worker and page.slots[layout.UPDATES] > 0}

    def look_at_locks(self) -> None:
        """Look what the working workers wait for; many times a second."""
        self._locks.sample()

    def poll(self, now: float) -> list[AnyEvent]:
        """What happened since the last call."""
        pages = self._folder.scan()
        found: list[AnyEvent] = []
        for page in pages:
            if page.is_worker:
                self._locks.watch(int(page.slots[layout.THREAD]))
                continue
            rank = self._ranks.get(page.pid)
            if rank is None:
                rank = self._ranks[page.pid] = _Rank(page)
            found += rank.said()
            for line in rank.answers:
                found += self.tuner.answered(line)
            rank.answers.clear()
        leader = self._leader()
        if leader is None:
            return [*found, *self._silence(now, pages)]
        found += self._phases(leader)
        for rank in self._ranks.values():
            found += rank.steps(leader, self._images_per_step)
        for event in list(found):
            found += self.tuner.feed(event)
        found += self.tuner.judge(leader.page)
        if now - self._loader_at >= LOADER_SECONDS:
            found += self._loader(now, [page for page in pages if page.is_worker], leader)
        return [*found, *self._silence(now, pages)]

    def tune(self, command: TuneCommand) -> Tuned | None:
        """Ask the script for other settings of its loader; returns the refusal, or None if it was asked."""
        leader = self._leader()
        return self.tuner.ask(command, leader.page if leader else None)

    def close(self) -> None:
        """Release what is held."""
        self._locks.close()

    def _leader(self) -> _Rank | None:
        """The process whose steps are the run's: rank 0, or the one that made most updates."""
        trained = [rank for rank in self._ranks.values() if rank.page.slots[layout.UPDATES] > 0]
        return min(trained, key=lambda one: (one.number, -one.page.slots[layout.UPDATES])) if trained else None

    def _phases(self, leader: _Rank) -> list[AnyEvent]:
        validating = leader.page.slots[layout.PHASE] == layout.VALIDATION
        phase = Phase.VALIDATING if validating else Phase.TRAINING
        if phase is self._phase:
            return []
        self._phase = phase
        return [PhaseChanged(phase=phase)]

    def _silence(self, now: float, pages: list[MappedPage]) -> list[AnyEvent]:
        """Once: why nothing is known of a script that has been running for a while."""
        if self._told_silent or now - self._began < SILENT_SECONDS or self._leader() is not None:
            return []
        self._told_silent = True
        return [Notice(level="warning", text=_why_silent(pages), source="supervisor")]

    def _loader(self, now: float, pages: list[MappedPage], leader: _Rank) -> list[AnyEvent]:
        seconds, self._loader_at = now - self._loader_at, now
        # A loop without workers makes its batches itself; beside workers, those are of validation.
        own = [page for page in pages if page.pid == leader.page.pid]
        others = [page for page in pages if page.pid != leader.page.pid]
        counted = others or own
        alive = [page for page in counted if _is_alive(page.pid)]
        before = self._workers
        self._workers = total(worker_sums(page) for page in counted).plus(self._ended_workers)
        for page in counted:
            if page not in alive:
                self._ended_workers = self._ended_workers.plus(worker_sums(page))
                self._folder.forget(page)
        samples, busy = self._workers.samples - before.samples, self._workers.busy - before.busy
        if not alive or samples <= 0:
            return []
        return [self._stats(before, samples, busy, seconds, alive, bool(others))]

    def _stats(
        self, before: WorkerSums, samples: float, busy: float, seconds: float, alive: list[MappedPage], workers: bool
    ) -> LoaderStats:
        now = self._workers
        cpu = now.cpu - before.cpu
        delay = _difference(now.run_delay, before.run_delay)
        chars = _difference(now.read_chars, before.read_chars)
        disk = _difference(now.disk_bytes, before.disk_bytes)
        waited = None if delay is None else max(0.0, busy - cpu - delay)
        return LoaderStats(
            workers=len(alive),
            kind="processes" if workers else "inline",
            seconds=seconds,
            samples=round(samples),
            busy=min(1.0, busy / (seconds * len(alive))),
            cpu_ratio=min(1.0, cpu / busy) if busy else None,
            run_delay=min(1.0, delay / busy) if busy and delay is not None else None,
            read_share=min(1.0, waited / busy) if busy and waited is not None else None,
            bytes_read=round(chars) if chars is not None else None,
            disk_bytes=round(disk) if disk is not None else None,
            lock_share=self._locks.take_share(),
            slowest=slowest_sample(alive),
        )


class _Rank:
    """One process that trains."""

    def __init__(self, page: MappedPage) -> None:
        self.page = page
        self.number = max(0, int(page.slots[layout.RANK]))
        self._taken = StepSums()
        self._loaders: dict[tuple[str, int], dict[str, Any]] = {}
        self._training: dict[str, Any] | None = None
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
                    found.append(_model(line, self.page))
                case "scalars" if self.number == 0:
                    found += self._on_scalars(line)
                case "change":
                    self.answers.append(line)
                case "disabled":
                    text = f"a hook in the script failed and is off: {plain(str(line.get('hook')), 80)}: "
                    text += plain(str(line.get("why")), 200)
                    found.append(Notice(level="warning", text=text, source="trainer"))
        return found

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

    def steps(self, leader: _Rank, images_per_step: int) -> list[AnyEvent]:
        """The steps since the last window, if there are some and the window is long enough."""
        sums = step_sums(self.page)
        window = sums.since(self._taken)
        if window.updates <= 0 or window.seconds < WINDOW_SECONDS:
            return []
        self._taken = sums
        if self is not leader:
            return [
                RankSteps(
                    rank=self.number,
                    window_steps=round(window.updates),
                    window_seconds=window.seconds,
                    data_wait=window.wait,
                    compute=window.compute,
                    exchange=0.0,
                )
            ]
        return [self._steps(sums, window, images_per_step)]

    def _steps(self, sums: StepSums, window: StepSums, images_per_step: int) -> Steps:
        slots = self.page.slots
        samples = window.updates * images_per_step if images_per_step else window.samples
        images = sums.updates * images_per_step if images_per_step else sums.samples
        compute = window.compute
        if window.device_host_seconds > 0:
            compute = min(window.seconds, window.device_seconds / window.device_host_seconds * window.seconds)
        passes = int(self._training.get("passes", 1)) if self._training else 1
        cuda = slots[layout.ON_CUDA] > 0
        return Steps(
            step=round(sums.updates),
            epoch=max(0, passes - 1),
            epoch_step=round(slots[layout.EPOCH_BATCHES]),
            images=round(images),
            window_steps=round(window.updates),
            window_seconds=window.seconds,
            images_per_second=samples / window.seconds,
            loss=slots[layout.LOSS] if slots[layout.LOSS_UPDATE] >= 0 else None,
            lr=slots[layout.LEARNING_RATE],
            data_wait=min(window.wait, window.seconds),
            wait_unknown=slots[layout.LOADERS] == 0,
            copy=None,
            compute=min(compute, max(0.0, window.seconds - window.wait)),
            other=max(0.0, window.seconds - window.wait - compute),
            first_batch_wait=window.first_wait,
            wait_squares=window.wait_squares,
            vram_allocated=round(slots[layout.VRAM_ALLOCATED]) if cuda else None,
            vram_reserved=round(slots[layout.VRAM_RESERVED]) if cuda else None,
            vram_peak=round(slots[layout.VRAM_PEAK]) if cuda else None,
            alloc_retries=round(slots[layout.ALLOC_RETRIES]) if cuda else None,
        )


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


def _why_silent(pages: list[MappedPage]) -> str:
    trainers = [page for page in pages if not page.is_worker]
    begun = f"no step seen for {SILENT_SECONDS:.0f} s: monitoring only; "
    if not trainers:
        return begun + (
            "no Python process of the command used torch so far, or the probe is kept out "
            "(python -I, -E or -S, a cleaned environment, a container, another host)"
        )
    if any(page.slots[layout.BACKWARDS] > 0 for page in trainers):
        return begun + "there were backward passes but no optimizer step"
    return begun + "torch is loaded, but there was no backward pass and no optimizer step yet"


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else max(0.0, now - before)


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
