"""Step timing with simulated device events, and the loss meter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training.training_tools import draw_images, small_config, train

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.shared_loop.nonfinite_loss import NonFiniteLossError, NonFinitePolicy
from gputrain.engine.training.optim.loss_meter import LossMeter
from gputrain.engine.training.runtime import step_timing
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.state import torch_checkpoint

GPU = Compute(torch.device("cuda", 0), "a made GPU", "bf16")
CPU = Compute(torch.device("cpu"), "a CPU", "fp32")


class Device:
    """Runs queued work in order, one event after another, at times in ms that the test sets."""

    def __init__(self) -> None:
        self.finished_at: list[float] = []
        """Times of the events that the device has passed, in the order of their recording."""
        self.synchronized: list[int] = []
        self.recorded = 0

    def event(self) -> Any:
        device = self

        class Event:
            number = -1

            def record(self, _stream: object = None) -> None:
                self.number = device.recorded
                device.recorded += 1

            def query(self) -> bool:
                return self.number < len(device.finished_at)

            def elapsed_time(self, other: Event) -> float:
                return device.finished_at[other.number] - device.finished_at[self.number]

            def synchronize(self) -> None:
                device.synchronized.append(self.number)
                device.finished_at += [0.0] * (self.number + 1 - len(device.finished_at))

        return Event()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device()
    monkeypatch.setattr(step_timing, "new_event", made.event)
    return made


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The host's clock in seconds; the last item is the present time."""
    times = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: times[-1])
    return times


def wait(clock: StepClock, now: list[float], seconds: float) -> None:
    with clock.waiting():
        now.append(now[-1] + seconds)


def compute(clock: StepClock) -> None:
    with clock.computing("forward"):
        pass


def test_waiting_counts_only_while_the_device_is_idle(device: Device, now: list[float]) -> None:
    clock = StepClock(GPU)
    compute(clock)
    for _ in range(2):
        wait(clock, now, 0.090)
        compute(clock)
    # Busy 0-100, then idle for 2 ms, busy 102-202, idle for 60 ms, busy 262-362.
    device.finished_at = [0.0, 100.0, 102.0, 202.0, 262.0, 362.0]
    clock.collect()
    assert clock.compute == pytest.approx(0.300)
    assert clock.wait == pytest.approx(0.002 + 0.060)


def test_the_device_may_be_idle_for_other_reasons(device: Device, now: list[float]) -> None:
    clock = StepClock(GPU)
    compute(clock)
    wait(clock, now, 0.001)
    compute(clock)
    device.finished_at = [0.0, 10.0, 30.0, 40.0]
    clock.collect()
    assert clock.wait == pytest.approx(0.001)
    assert clock.other(0.040) == pytest.approx(0.019)


def test_work_that_ends_in_the_next_window_is_balanced_over_both(device: Device, now: list[float]) -> None:
    clock = StepClock(GPU)
    for _ in range(2):
        compute(clock)
    device.finished_at = [0.0, 150.0]
    clock.collect()
    assert clock.other(0.100) == 0.0
    clock.restart()
    device.finished_at += [150.0, 190.0]
    clock.collect()
    assert clock.compute == pytest.approx(0.040)
    # 100 ms of this window, 50 of which were computed on already: 40 of the others are computing.
    assert clock.other(0.100) == pytest.approx(0.010)


def test_the_queue_of_the_host_is_limited(device: Device, now: list[float]) -> None:
    clock = StepClock(GPU)
    for _ in range(step_timing._MAX_QUEUED):
        compute(clock)
    assert device.synchronized == []
    for _ in range(3):
        compute(clock)
    # Event 1 is the end of the first piece of work, event 3 of the second.
    assert device.synchronized == [1, 3, 5]


def test_what_was_queued_before_a_pause_is_in_no_window(device: Device, now: list[float]) -> None:
    clock = StepClock(GPU)
    wait(clock, now, 1.0)
    compute(clock)
    clock.skip()
    device.finished_at = [0.0, 5.0]
    clock.collect()
    assert (clock.wait, clock.compute, clock.copy) == (0.0, 0.0, 0.0)


def test_the_cpu_is_timed_by_wall_time(now: list[float]) -> None:
    clock = StepClock(CPU)
    clock.new_epoch()
    wait(clock, now, 2.0)
    wait(clock, now, 1.0)
    with clock.computing("forward"):
        now.append(now[-1] + 4.0)
    now.append(now[-1] + 0.5)
    assert (clock.wait, clock.first_wait, clock.compute, clock.copy) == (3.0, 2.0, 4.0, None)
    assert clock.other(clock.seconds) == pytest.approx(0.5)


def name(index: int) -> str:
    return f"cat/{index}.jpg"


def untold(level: str, text: str) -> None:
    pytest.fail(text)


def add(meter: LossMeter, number: int, loss: float) -> None:
    meter.add(torch.tensor(loss), number, np.arange(number * 10, number * 10 + 5))


def test_the_mean_of_an_epoch_does_not_depend_on_the_windows() -> None:
    losses = [0.1, 0.7, 1.3, 0.9, 2.1]
    often, once = LossMeter(CPU, NonFinitePolicy(untold, name)), LossMeter(CPU, NonFinitePolicy(untold, name))
    for number, loss in enumerate(losses):
        add(often, number, loss)
        add(once, number, loss)
        reading = often.take()
        assert reading is not None
        assert reading.loss == pytest.approx(loss)
    assert often.take() is None
    assert often.take_epoch() == once.take_epoch() == pytest.approx(sum(losses) / 5)
    assert once.take_epoch() is None


def test_repeated_steps_count_once() -> None:
    meter = LossMeter(CPU, NonFinitePolicy(untold, name))
    for number, loss in enumerate([1.0, 5.0, 7.0]):
        add(meter, number, loss)
    meter.undo(2)
    add(meter, 1, 3.0)
    assert meter.take_epoch() == 2.0


def test_norm_and_scale_come_with_the_losses() -> None:
    meter = LossMeter(CPU, NonFinitePolicy(untold, name))
    add(meter, 1, 0.5)
    meter.note(torch.tensor(2.0), torch.tensor(65536.0))
    reading = meter.take()
    assert reading is not None
    assert (reading.loss, reading.grad_norm, reading.loss_scale) == (0.5, 2.0, 65536.0)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_non_finite_loss_names_its_step_and_images(loss: float) -> None:
    meter = LossMeter(CPU, NonFinitePolicy(untold, name))
    add(meter, 1, 0.5)
    add(meter, 2, loss)
    add(meter, 3, float("nan"))
    with pytest.raises(
        NonFiniteLossError,
        match=r"at step 2, on cat/20.jpg, cat/21.jpg, cat/22.jpg and 2 more \(samples 20, 21, 22, 23, 24\); lower lr",
    ):
        meter.take()


def test_the_trainer_stops_at_a_non_finite_loss(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images")
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(
        NonFiniteLossError, match=r"the loss is (nan|inf) at step \d+, on (across|down|spots)/|the validation loss"
    ):
        train(run, small_config(images, epochs=30, lr=100.0, weight_decay=10.0, schedule="constant"))
    for entry in checkpoint_index.read_index(run / "checkpoints"):
        state = torch_checkpoint.load(str(run / "checkpoints" / entry.file), pytest.fail)
        assert all(torch.isfinite(v).all() for v in state["model"].values())
