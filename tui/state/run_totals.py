"""Sums and maxima over a whole run, for its summary. Pure.

If a long record was read only in part, a window of steps stands for all steps since the previous window, and a sample
of the machine for all the time since the previous sample. The sums are then estimates.
"""

from __future__ import annotations

from gputrain.engine.events import AnyEvent, HardwareSample, LoaderStats, RunStarted, Steps
from gputrain.engine.monitor.energy import NO_ENERGY, EnergyMeter
from gputrain.tui.state.run_snapshot import Totals

_MAX_GAP = 60.0
"""Longest interval in seconds that one sample stands for; a longer gap means that the host was suspended."""


class RunTotals:
    """Takes the events of a run in order."""

    def __init__(self) -> None:
        self._seq = 0
        self._estimated = False
        self._step = 0
        self._sampled: float | None = None
        self._steps = 0.0
        self._images = 0.0
        self._seconds = self._wait = self._first_wait = self._compute = self._other = 0.0
        self._copy: float | None = None
        self._exchange: float | None = None
        self._allocated: int | None = None
        self._held: int | None = None
        self._meter, self._energy = EnergyMeter(), NO_ENERGY
        self._power_seconds = 0.0
        self._throttled: dict[str, float] = {}
        self._bad_images = self._lost = 0
        self._dropped = 0.0
        self._sizes: tuple[int, int] | None = None
        self._wait_unknown = False
        self._skipped = 0.0

    def update(self, event: AnyEvent, *, sparse: bool = False) -> None:
        """Count one event. `sparse`: it also stands for skipped events before it."""
        self._estimated = self._estimated or sparse
        # Events that were never recorded have no sequence number and leave no gaps.
        if event.seq > self._seq + 1 and self._seq and not sparse:
            self._lost += event.seq - self._seq - 1
        self._seq = max(self._seq, event.seq)
        match event:
            case Steps():
                self._add_steps(event, self._stands_for(event) if sparse else 1.0)
            case HardwareSample():
                self._add_hardware(event, self._sample_seconds(event, sparse))
            case RunStarted():
                self._meter.restart()
            case LoaderStats():
                self._bad_images += event.bad_images
            case _:
                pass

    def _stands_for(self, event: Steps) -> float:
        """How many windows of this length fit between the last known step and this one."""
        return max(1.0, (event.step - self._step) / event.window_steps) if self._step and event.window_steps else 1.0

    def _sample_seconds(self, event: HardwareSample, sparse: bool) -> float:
        """Seconds that the sample stands for."""
        seconds = min(max(event.interval, 0.0), _MAX_GAP)
        before, self._sampled = self._sampled, event.mono
        if sparse and before is not None and event.mono > before:
            return max(seconds, event.mono - before)
        return seconds

    def _add_steps(self, event: Steps, weight: float) -> None:
        self._step = event.step
        self._steps += event.window_steps * weight
        self._images += event.images_per_second * event.window_seconds * weight
        self._seconds += event.window_seconds * weight
        self._wait += event.data_wait * weight
        self._first_wait += event.first_batch_wait * weight
        self._compute += event.compute * weight
        self._other += event.other * weight
        self._dropped += event.dropped * weight
        self._skipped += event.skipped * weight
        self._wait_unknown = self._wait_unknown or event.wait_unknown
        if event.image_size is not None:
            self._sizes = (self._sizes[0] if self._sizes else event.image_size, event.image_size)
        if event.copy is not None:
            self._copy = (self._copy or 0.0) + event.copy * weight
        if event.exchange is not None:
            self._exchange = (self._exchange or 0.0) + event.exchange * weight
        self._allocated = _larger(self._allocated, event.vram_peak)

    def _add_hardware(self, event: HardwareSample, seconds: float) -> None:
        for gpu in event.gpus:
            self._held = _larger(self._held, gpu.memory_used)
        for reason in {reason for gpu in event.gpus for reason in gpu.throttle}:
            self._throttled[reason] = self._throttled.get(reason, 0.0) + seconds
        used = self._meter.used(event, seconds)
        self._energy = self._energy.plus(used)
        if used.gpus is not None:
            self._power_seconds += seconds

    def totals(self) -> Totals:
        """The sums so far."""
        return Totals(
            estimated=self._estimated,
            steps=round(self._steps),
            images=self._images,
            step_seconds=self._seconds,
            data_wait=self._wait,
            wait_unknown=self._wait_unknown,
            skipped=round(self._skipped),
            first_batch_wait=self._first_wait,
            copy=self._copy,
            compute=self._compute,
            other=self._other,
            exchange=self._exchange,
            peak_vram=self._held if self._held is not None else self._allocated,
            joules=self._energy.gpus,
            cpu_joules=self._energy.cpu,
            power_seconds=self._power_seconds,
            throttled=dict(sorted(self._throttled.items())),
            bad_images=self._bad_images,
            image_sizes=self._sizes,
            lost=self._lost,
            dropped=round(self._dropped),
        )


def _larger(known: int | None, value: int | None) -> int | None:
    return value if known is None else known if value is None else max(known, value)
