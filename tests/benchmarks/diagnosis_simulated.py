"""The simulated device: it takes time and no CPU, and its events are those that a GPU's would be.

Utilization is the share of the time in which it worked. All else (workers, cores, disks, memory, control groups) is
measured on this machine.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections import deque

from diagnosis_setup import AHEAD, Setup
from diagnosis_tape import SAMPLE_SECONDS, Tape, config_of, faulty, repeated, watch

from gputrain.engine.configuration import settings
from gputrain.engine.datasets import image_set
from gputrain.engine.events import DataReady, ModelReady, Phase, PhaseChanged, RunStarted, Steps
from gputrain.engine.hardware.cgroup import find_cgroup
from gputrain.engine.hardware.machine import usable_cores
from gputrain.engine.training.loader import make_loader

_JITTER_STEPS = 8
"""Steps that are longer, or shorter, in a row."""
_WINDOW_SECONDS = 0.2


class Device:
    """The simulated device and the loop around it.

    As a GPU it works by itself: the host queues batches, a few ahead, and is behind only where the device has nothing
    to do. The shares are those that the trainer's clock (engine/training/runtime/step_timing.py) makes of CUDA events.
    """

    def __init__(self, setup: Setup, tape: Tape) -> None:
        self._setup, self._tape = setup, tape
        self._queued = self._worked_before = 0.0
        self._asked = time.perf_counter()
        self._free: float | None = None
        """When all that is queued is done; None while nothing was queued since the training began or went on."""
        self._ends: deque[float] = deque()
        self._steps = self._images = 0
        self._stats = time.perf_counter()
        self.epoch = setup.first_epoch
        self._stalled, self._stalled_step = time.perf_counter(), 0
        self._reset()

    def _reset(self) -> None:
        self._began = time.perf_counter()
        self._wait = self._first = self._squares = self._copy = self._compute = self._gap = 0.0
        self._count = self._window_images = 0

    def busy(self) -> float:
        """Share of the time since the last call in which it worked."""
        now = time.perf_counter()
        worked = self._queued - max(0.0, (self._free or now) - now)
        share = (worked - self._worked_before) / (now - self._asked)
        self._worked_before, self._asked = worked, now
        return max(0.0, min(1.0, share))

    def step(self, waited: float, count: int, *, first: bool) -> None:
        """Queue the work on a batch that was waited for; returns when not too much is queued."""
        longer = -1 if self._steps // _JITTER_STEPS % 2 else 1
        compute = self._setup.step * (1 + longer * self._setup.jitter)
        work = self._setup.copy + compute
        time.sleep(self._setup.host)
        now = time.perf_counter()
        begin = now if self._free is None else max(now, self._free)
        idle = waited if self._free is None else begin - self._free
        in_vain = min(waited, idle)
        self._wait += in_vain
        self._squares += in_vain * in_vain
        self._first += in_vain if first else 0.0
        self._gap += idle - in_vain
        self._copy += self._setup.copy
        self._compute += compute
        self._queued += work
        self._free = begin + work
        self._ends.append(self._free)
        if len(self._ends) > AHEAD:
            time.sleep(max(0.0, self._ends.popleft() - now))
        self._count += 1
        self._window_images += count
        self._steps += 1
        self._images += count

    def report(self, source: make_loader.AnyLoader) -> None:
        """Tell the window if it is old enough."""
        seconds = time.perf_counter() - self._began
        if self._count and seconds >= _WINDOW_SECONDS:
            self._tape.put(self._window(seconds))
            self._reset()
        if time.perf_counter() - self._stats >= 2 * SAMPLE_SECONDS:
            self._stats = time.perf_counter()
            self._tape.put(source.take_stats())

    def _window(self, seconds: float) -> Steps:
        return Steps(
            step=self._steps,
            epoch=self.epoch,
            epoch_step=self._steps,
            images=self._images,
            window_steps=self._count,
            window_seconds=seconds,
            images_per_second=self._window_images / seconds,
            loss=None,
            lr=0.1,
            data_wait=self._wait,
            copy=self._copy,
            compute=self._compute,
            other=self._gap,
            launch_gap=self._gap,
            first_batch_wait=self._first,
            wait_squares=self._squares,
        )

    def stall_if_due(self) -> None:
        """Save or validate, as often as the settings say."""
        stall, settings = self._setup.stall, self._setup.settings
        if stall is None:
            return
        if stall.how == "saves":
            due = self._steps - self._stalled_step >= settings["checkpoint_steps"]
        else:
            due = time.perf_counter() - self._stalled >= stall.every * settings.get("validate_epochs", 1)
        if due:
            self._stall(Phase.SAVING if stall.how == "saves" else Phase.VALIDATING, stall.seconds)
            self._stalled, self._stalled_step = time.perf_counter(), self._steps

    def _stall(self, phase: Phase, seconds: float) -> None:
        """Do something else than train, when what is queued is done."""
        time.sleep(max(0.0, (self._free or 0.0) - time.perf_counter()))
        if self._count:
            self._tape.put(self._window(time.perf_counter() - self._began))
        self._free = None
        self._ends.clear()
        self._tape.put(PhaseChanged(phase=phase))
        _write_or_wait(phase, seconds)
        self._tape.put(PhaseChanged(phase=Phase.TRAINING))
        self._reset()


def _write_or_wait(phase: Phase, seconds: float) -> None:
    """Write to the disk as a checkpoint does, or wait as for a device that validates."""
    until = time.perf_counter() + seconds
    with tempfile.TemporaryFile() as file:
        while phase is Phase.SAVING and time.perf_counter() < until - 0.05:
            file.seek(0)
            file.write(bytes(1 << 20))
            file.flush()
            time.sleep(0.02)
    time.sleep(max(0.0, until - time.perf_counter()))


def simulate(setup: Setup, tape: Tape) -> None:
    """The loop of a simulated device, for `setup.seconds`."""
    config = config_of(setup)
    files = image_set.scan(setup.folder, "train")
    cached = config.data.cache != "none"
    found = files if cached else repeated(files, _epoch_images(setup, config.data.batch_size))
    with faulty(setup, len(files)):
        source = make_loader.make_loader(found, config, train=True, pin=False)
    _begin(setup, source, cached=cached)
    tape.put(RunStarted(run_id="trace", settings=settings.flatten(config), usable_cores=usable_cores(find_cgroup())))
    tape.put(_data_ready(len(found), len(source)))
    tape.put(_model_ready())
    tape.put(PhaseChanged(phase=Phase.TRAINING))
    device, stop = Device(setup, tape), threading.Event()
    watcher = threading.Thread(target=watch, args=(tape, setup, device.busy, stop))
    watcher.start()
    try:
        _loop(setup, source, device)
    finally:
        stop.set()
        watcher.join()
        source.close()


def _epoch_images(setup: Setup, batch: int) -> int:
    """Images of an epoch that lasts as long as it should; one that lasts for the trace has some to spare."""
    seconds = setup.epoch_seconds or 2 * setup.seconds
    return batch * max(1, round(seconds / (setup.copy + setup.step)))


def _begin(setup: Setup, source: make_loader.AnyLoader, *, cached: bool) -> None:
    """What is no part of the trace: the first epoch of a cache, and the server that processes are forked from."""
    if cached:
        for _ in source.epoch(setup.first_epoch - 1):
            pass
    elif source.take_stats().kind == "processes":
        next(source.epoch(setup.first_epoch))
    source.take_stats()


def _loop(setup: Setup, source: make_loader.AnyLoader, device: Device) -> None:
    end = time.perf_counter() + setup.seconds
    while time.perf_counter() < end:
        asked, first = time.perf_counter(), True
        for batch in source.epoch(device.epoch):
            device.step(time.perf_counter() - asked, len(batch.labels), first=first)
            # As the trainer does after each step: that is when workers are looked at.
            source.queue()
            first = False
            device.report(source)
            device.stall_if_due()
            if time.perf_counter() >= end:
                break
            asked = time.perf_counter()
        device.epoch += 1


def _data_ready(count: int, batches: int) -> DataReady:
    return DataReady(
        dataset="imagefolder",
        path="",
        train_images=count,
        val_images=0,
        classes=(),
        class_count=1,
        batches_per_epoch=batches,
        seconds=0.0,
    )


def _model_ready() -> ModelReady:
    return ModelReady(
        model="simulated",
        parameters=0,
        device="cuda:0",
        device_name="simulated",
        precision="bf16",
        channels_last=True,
        compiled=True,
        optimizer="sgd",
        total_steps=1,
        total_updates=1,
    )
