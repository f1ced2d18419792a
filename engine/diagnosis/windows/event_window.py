"""From events to signals: a sliding window over the training events, as means and shares. Pure.

Time is the events' own `mono`; the window ends at the newest event.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from gputrain.engine.diagnosis.windows.gpu_signals import gpu_signals
from gputrain.engine.diagnosis.windows.host_signals import host_signals
from gputrain.engine.diagnosis.windows.mean_of_known import mean
from gputrain.engine.diagnosis.windows.rank_shares import rank_shares, ranks_of
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.events import (
    AnyEvent,
    DataReady,
    HardwareSample,
    LoaderFound,
    LoaderStats,
    ModelReady,
    Phase,
    PhaseChanged,
    RankSteps,
    RunStarted,
    ScriptModel,
    Steps,
    Traced,
    TraceSummary,
    Tuned,
)

WINDOW_SECONDS = 12.0
_STALLS_KEPT = 8
"""Checkpoints and validations are rare: their share is computed over this many of the newest ones, end to end."""
WARM_UP_SECONDS, WARM_UP_STEPS = 5.0, 10
"""Warm-up until both have passed: batches that were queued before the first step make the start look faster."""
LEAST_SECONDS = 4.0
"""Seconds spent on steps below which a window has no signals."""
_TRIALS_KEPT = 8
_STALLS = (Phase.SAVING, Phase.VALIDATING)
_AT_WORK = (Phase.TRAINING, Phase.WARMING_UP, *_STALLS)


class EventWindow:
    """The newest events of a training, and their signals."""

    def __init__(
        self, seconds: float = WINDOW_SECONDS, warm_up: float = WARM_UP_SECONDS, least: float = LEAST_SECONDS
    ) -> None:
        """`least`: seconds spent on steps below which a window has no signals."""
        self._seconds, self._warm_up, self._least = seconds, warm_up, least
        self._settings: dict[str, Any] = {}
        self._usable_cores: float | None = None
        self._images = 0
        self._device = self._precision = ""
        self._capability: float | None = None
        self._device_name, self._parameters = "", 0
        self._tried: deque[Tuned] = deque(maxlen=_TRIALS_KEPT)
        self._phase = Phase.STARTING
        self._phase_began = 0.0
        self._began: float | None = None
        self._warm_steps = 0
        self._now = 0.0
        self._stalls: dict[Phase, deque[tuple[float, float]]] = {phase: deque(maxlen=_STALLS_KEPT) for phase in _STALLS}
        self._steps: deque[Steps] = deque()
        self._loader: deque[LoaderStats] = deque()
        self._hardware: deque[HardwareSample] = deque()
        self._ranks: deque[RankSteps] = deque()
        self._trace: TraceSummary | None = None

    def feed(self, event: AnyEvent) -> None:
        """Take one event; events outside training change no signal."""
        self._now = max(self._now, event.mono)
        training = self._phase is Phase.TRAINING
        match event:
            case RunStarted():
                self._settings, self._usable_cores = dict(event.settings), event.usable_cores or None
                self._tried.clear()
                self._trace = None
            case DataReady():
                self._images = event.train_images
            case LoaderFound():
                self._take_loader(event)
            case ScriptModel():
                self._device = event.device
                self._settings.update(devices=event.ranks, script_device=event.device)
            case ModelReady():
                self._device, self._precision = event.device, event.precision
                self._device_name, self._parameters = event.device_name, event.parameters
                self._capability = event.capability[0] + event.capability[1] / 10 if event.capability else None
            case PhaseChanged():
                self._enter(event.phase)
            case Tuned() if event.now:
                self._take_change(event)
            case Traced(summary=TraceSummary() as summary):
                self._trace = summary
            case Steps() if training:
                self._take_steps(event)
            case LoaderStats():
                self._take_loader_stats(event, counts=training and self.warm)
            case RankSteps() if training and self.warm:
                self._ranks.append(event)
            case HardwareSample() if training and self.warm:
                self._hardware.append(event)
        self._forget()

    @property
    def warm(self) -> bool:
        """Whether the warm-up has passed."""
        return (
            self._began is not None and self._now - self._began >= self._warm_up and self._warm_steps >= WARM_UP_STEPS
        )

    def signals(self) -> Signals | None:
        """The signals of the window; None outside training, and while the window is too short."""
        seconds = sum(one.window_seconds for one in self._steps)
        if self._phase not in _AT_WORK or seconds < self._least:
            return None
        if any(one.wait_unknown for one in self._steps):
            # Nothing can be ruled out before the waiting for data.
            return None
        parts = (
            self._of_steps(seconds),
            self._of_phases(),
            self._of_loader(seconds),
            host_signals(self._hardware, self._usable_cores),
            gpu_signals(self._hardware, self._steps, self._device),
            rank_shares(self._steps, self._ranks),
        )
        signals = Signals(
            seconds=seconds,
            wait=sum(one.data_wait for one in self._steps) / seconds,
            compute=sum(one.compute for one in self._steps) / seconds,
            settings=self._settings,
            on_gpu=self._device.startswith("cuda"),
            precision=self._precision,
            capability=self._capability,
            device_name=self._device_name,
            gradient_bytes=self._gradient_bytes(),
            tried=tuple(self._tried),
            trace=self._trace,
            workers=self._settings.get("num_workers", 0),
            ranks=ranks_of(self._settings),
            usable_cores=self._usable_cores,
        )
        for part in parts:
            signals = msgspec.structs.replace(signals, **part)
        return signals

    def _gradient_bytes(self) -> int | None:
        sent = 2 if self._settings.get("gradient_compression") == "bf16" else 4
        return self._parameters * sent or None

    def _take_loader(self, event: LoaderFound) -> None:
        """A script of the user's own reads this loader: its arguments stand for our settings."""
        found = {
            "num_workers": event.num_workers,
            "prefetch_factor": event.prefetch_factor or 2,
            "persistent_workers": event.persistent_workers,
            "pin_memory": event.pin_memory,
            "loader": "processes",
            # What its workers wait for is known as little as for a data set of the user's own in our trainer.
            "dataset": "custom",
            "loader_file": event.file,
            "loader_line": event.line,
            "loader_kind": event.kind,
            "loader_iterable": event.iterable,
            "loader_order_kept": event.order_kept,
            "loader_framework": event.framework,
            "loader_started_twice": event.started_twice,
        }
        if event.batch_size is not None:
            found["batch_size"] = event.batch_size
            if event.batches is not None:
                self._images = event.batch_size * event.batches
        changed = {name for name, value in found.items() if self._settings.get(name) != value}
        self._settings.update(found)
        if changed & {"num_workers", "prefetch_factor", "loader_line"} and self._began is not None:
            self._start_over()

    def _take_loader_stats(self, event: LoaderStats, *, counts: bool) -> None:
        if event.draws:
            self._settings["loader_draws"] = True
        if counts:
            self._loader.append(event)

    def _take_change(self, event: Tuned) -> None:
        self._settings.update(event.now)
        if event.verdict == "kept":
            # Earlier trials were made with other settings.
            self._tried.clear()
        if event.verdict != "trying":
            self._tried.append(event)
        if event.verdict != "kept":
            self._start_over()

    def _enter(self, phase: Phase) -> None:
        if phase is self._phase:
            return
        if self._phase in _STALLS and self.warm:
            self._stalls[self._phase].append((self._phase_began, self._now))
        self._phase, self._phase_began = phase, self._now
        if phase is Phase.TRAINING and self._began is None:
            self._began = self._now

    def _start_over(self) -> None:
        """Begin a new warm-up: the data pipeline was restarted, and earlier events no longer apply."""
        self._began, self._warm_steps = self._now, 0
        self._trace = None
        for kept in (self._steps, self._loader, self._hardware, self._ranks):
            kept.clear()

    def _take_steps(self, event: Steps) -> None:
        if self.warm:
            self._steps.append(event)
        else:
            self._warm_steps += event.window_steps

    def _forget(self) -> None:
        oldest = self._now - self._seconds
        kept: deque[Any]
        for kept in (self._steps, self._loader, self._hardware, self._ranks):
            while kept and kept[0].mono <= oldest:
                kept.popleft()

    def _of_steps(self, seconds: float) -> dict[str, Any]:
        newest, steps = self._steps[-1], sum(one.window_steps for one in self._steps)
        gaps = [one.launch_gap for one in self._steps if one.launch_gap is not None]
        copies = [one.copy for one in self._steps if one.copy is not None]
        retries = [one.alloc_retries for one in self._steps if one.alloc_retries is not None]
        held = [
            one.vram_reserved / one.vram_allocated for one in self._steps if one.vram_reserved and one.vram_allocated
        ]
        return {
            "first_wait": sum(one.first_batch_wait for one in self._steps) / seconds,
            "copy": sum(copies) / seconds if copies else None,
            "other": sum(one.other for one in self._steps) / seconds,
            "launch_gap": sum(gaps) / seconds if gaps else None,
            "wait_cv": self._wait_cv(steps),
            "step_seconds": seconds / steps if steps else None,
            "rate": sum(one.images_per_second * one.window_seconds for one in self._steps)
            / (seconds * ranks_of(self._settings)),
            "unit": newest.unit,
            "epoch": newest.epoch,
            "batch_parts": newest.batch_parts,
            "alloc_retries": retries[-1] - retries[0] if retries else None,
            "vram_reserved": min(held) if held else None,
        }

    def _wait_cv(self, steps: int) -> float | None:
        squares = [one.wait_squares for one in self._steps if one.wait_squares is not None]
        total = math.fsum(one.data_wait for one in self._steps)
        if len(squares) < len(self._steps) or total <= 0 or steps < 1:
            return None
        mean = total / steps
        return math.sqrt(max(0.0, math.fsum(squares) / steps - mean * mean)) / mean

    def _of_phases(self) -> dict[str, Any]:
        """Shares of the wall time spent on checkpoints and validation."""
        return {"saving": self._stalled(Phase.SAVING), "validating": self._stalled(Phase.VALIDATING)}

    def _stalled(self, phase: Phase) -> float:
        """Share of the time from the end of the first stall to that of the last; 0 before there are two."""
        stalls = self._stalls[phase]
        if len(stalls) < 2:
            return 0.0
        span = stalls[-1][1] - stalls[0][1]
        since = self._now - stalls[-1][1]
        if since > span / (len(stalls) - 1):
            # The next one is overdue: they have become rarer.
            span += since
        return sum(end - start for start, end in list(stalls)[1:]) / span if span > 0 else 0.0

    def _of_loader(self, training: float) -> dict[str, Any]:
        """`training`: seconds of the window's steps. During checkpoints and validation the workers soon idle."""
        if not self._loader:
            return {}
        newest = self._loader[-1]
        worked = [(one, (one.busy if one.busy is not None else 1.0) * one.seconds) for one in self._loader]
        read = sum(one.bytes_read for one in self._loader if one.bytes_read is not None)
        disk = [one.disk_bytes for one in self._loader if one.disk_bytes is not None]
        slowest = max(self._loader, key=lambda one: one.slowest or 0.0)
        seconds, samples = sum(one.seconds for one in self._loader), sum(one.samples for one in self._loader)
        busy = mean((one.busy, one.seconds) for one in self._loader)
        if seconds > training and busy is not None:
            working = busy * seconds
            seconds = max(training, working)
            busy = working / seconds
        return {
            # Without workers the events count the loop itself as one.
            "workers": 0 if newest.kind == "inline" else newest.workers,
            "kind": newest.kind,
            "sample_rate": self._in_unit(samples / seconds) if seconds > 0 else None,
            "busy": busy,
            "cpu_ratio": mean((one.cpu_ratio, weight) for one, weight in worked),
            "run_delay": mean((one.run_delay, weight) for one, weight in worked),
            "read_share": mean((one.read_share, weight) for one, weight in worked),
            "download_share": mean((one.download_share, weight) for one, weight in worked),
            "download_rate": _rate(self._loader),
            "lock_share": mean((one.lock_share, one.seconds) for one in self._loader),
            "data_bytes": round(read / samples * self._images) if read and samples and self._images else None,
            "bytes_per_sample": read / samples if samples and newest.bytes_read is not None else None,
            "from_disk": min(1.0, sum(disk) / read) if disk and read else None,
            "slowest": slowest.slowest,
            "slowest_image": slowest.slowest_image,
        }

    def _in_unit(self, samples: float) -> float | None:
        """`samples` of the workers in what the rate of the steps counts; None if that is not known."""
        if self._steps[-1].loader_samples is None:
            return samples
        given = sum(one.loader_samples or 0.0 for one in self._steps)
        counted = sum(one.images_per_second * one.window_seconds for one in self._steps)
        return samples * counted / given if given > 0 else None


def _rate(found: Iterable[LoaderStats]) -> float | None:
    """Bytes per second that came of remote shards; None for local data."""
    came = [(one.downloaded, one.seconds) for one in found if one.downloaded is not None]
    seconds = sum(each for _, each in came)
    return sum(size for size, _ in came) / seconds if seconds > 0 else None
