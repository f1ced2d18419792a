"""From scripted NVML values through sampler, window and advisor to hints. The steps are scripted, NVML is really read.

The tests show that the rules get the values they need, not how often they are right on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from fakes.nvml import GIB, Figures, NvmlStandIn
from fakes.nvml.probe import Probe

from gputrain.engine.diagnosis.advisor import Advisor
from gputrain.engine.events import (
    AnyEvent,
    HardwareSample,
    Hint,
    ModelReady,
    Phase,
    PhaseChanged,
    RunStarted,
    Steps,
    stamp,
)

SECONDS = 40
"""Longer than two windows and the warm-up."""
SETTINGS: dict[str, Any] = {"num_workers": 4, "batch_size": 64, "tf32": True, "compile": True, "channels_last": True}
BUSY: dict[str, object] = {"gpu0.utilization": 98, "gpu0.sm_clock": 2080}


@pytest.fixture
def probe(nvml_stand_in: NvmlStandIn) -> Iterator[Probe]:
    nvml_stand_in.gpus(1)
    nvml_stand_in.set(BUSY)
    started = Probe(nvml_stand_in)
    yield started
    assert started.close() == 0


def steps(second: int, **changed: Any) -> Steps:
    """A second of ten steps in which the GPU computes all the time."""
    made: dict[str, Any] = {
        "step": 10 * second,
        "epoch": 1,
        "epoch_step": 10 * second,
        "images": 640 * second,
        "window_steps": 10,
        "window_seconds": 1.0,
        "images_per_second": 640.0,
        "loss": None,
        "lr": 0.1,
        "data_wait": 0.01,
        "copy": 0.01,
        "compute": 0.97,
        "other": 0.01,
        "launch_gap": 0.01,
        "vram_peak": 8 * GIB,
        "vram_allocated": 7 * GIB,
        "vram_reserved": 8 * GIB,
        "alloc_retries": 0,
    }
    return Steps(**{**made, **changed})


def advised(
    probe: Probe, precision: Any = "bf16", settings: dict[str, Any] | None = None, **changed: Any
) -> tuple[Advisor, dict[str, Hint]]:
    """The advisor after `SECONDS` samples of the scripted GPU, one per second, and its hints."""
    advisor = Advisor()
    model = ModelReady(
        model="resnet50",
        parameters=1,
        device="cuda:0",
        device_name="scripted",
        capability=(8, 6),
        precision=precision,
        channels_last=True,
        compiled=True,
        optimizer="sgd",
        total_steps=10_000,
        total_updates=10_000,
    )
    start: list[AnyEvent] = [
        RunStarted(run_id="run", settings={**SETTINGS, **(settings or {})}, usable_cores=16.0),
        model,
        PhaseChanged(phase=Phase.TRAINING),
    ]
    for event in start:
        advisor.feed(stamp(event, 1, 0.0, 0.0))
    for second in range(1, SECONDS):
        now = {name: value(second) if callable(value) else value for name, value in changed.items()}
        for event in (steps(second, **now), _with_idle_host(probe.sample())):
            advisor.feed(stamp(event, 1, float(second), float(second)))
    assert advisor.signals is not None
    return advisor, {hint.id: hint for hint in advisor.hints()}


def _with_idle_host(sample: HardwareSample) -> HardwareSample:
    """`sample` with an idle host, whatever else runs on the test machine."""
    return msgspec.structs.replace(
        sample, interval=1.0, cpu_percent=20.0, foreign_cpu=0.0, ram_available=None, other_processes=()
    )


def test_fully_used_gpu_is_healthy(probe: Probe) -> None:
    advisor, hints = advised(probe)
    assert list(hints) == ["compute-bound"]
    assert advisor.signals is not None
    assert advisor.signals.utilization == 98.0
    assert advisor.signals.clock == pytest.approx(2080 / 2100)
    assert advisor.signals.vram == pytest.approx(8 / 24)


CASES: list[tuple[str, Figures, dict[str, Any], str]] = [
    ("heat holds the clock down", {"gpu0.throttle": 0x40, "gpu0.sm_clock": 1400}, {}, "throttled"),
    ("so does the power supply", {"gpu0.throttle": 0x80, "gpu0.sm_clock": 1400}, {}, "throttled"),
    ("few of its multiprocessors have work", {"gpu0.gpm": 1, "gpu0.gpm2": 31.0}, {}, "inefficient"),
    ("another program holds its memory", {"gpu0.processes": "1:1048576"}, {}, "gpu-neighbour"),
    ("it rests between short kernels", {"gpu0.utilization": 35}, {}, "small-work"),
    ("no tensor cores", {}, {"precision": "fp32", "settings": {"tf32": False}}, "no-tensor-cores"),
    (
        "its memory is full, and freed again and again",
        {},
        {"vram_peak": 23 * GIB, "alloc_retries": lambda second: second},
        "vram-pressure",
    ),
    ("nothing overlaps the copies", {}, {"copy": 0.3, "compute": 0.68, "settings": {"pin_memory": False}}, "host-copy"),
    ("the host holds short steps up", {}, {"window_steps": 50, "compute": 0.7, "launch_gap": 0.28}, "launch-bound"),
    ("the host holds long steps up", {}, {"compute": 0.7, "launch_gap": 0.28}, "host-bound"),
]


@pytest.mark.parametrize(("figures", "run", "cause"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_cause_is_found_from_nvml_values(
    nvml_stand_in: NvmlStandIn, probe: Probe, figures: Figures, run: dict[str, Any], cause: str
) -> None:
    nvml_stand_in.set(figures)
    for name in figures:
        if name == "gpu0.gpm2":  # GPM values need two readings
            probe.until("s.gpus[0].sm_activity is not None")
    _, hints = advised(probe, **run)
    assert cause in hints
    assert hints.keys() <= {cause, "compute-bound"}


def test_low_clock_without_throttle_reason_is_not_throttling(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.set({"gpu0.sm_clock": 1400, "gpu0.throttle": 0x1})
    assert list(advised(probe)[1]) == ["compute-bound"]


def test_gpu_without_answer_gives_no_gpu_hint(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.set({"gpu0.throttle": 0x40, "gpu0.sm_clock": 1400, "gpu0.utilization": 35, "gpu0.error": 15})
    probe.until("s.gpus[0].error != ''")
    advisor, hints = advised(probe)
    assert advisor.signals is not None
    assert advisor.signals.utilization is None
    assert list(hints) == ["compute-bound"]
