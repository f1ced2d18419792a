"""Faults of GPUs: lost by the driver, out of memory (with stand-ins, without a GPU)."""

from __future__ import annotations

import os
from unittest import mock

from fakes.nvml import NvmlStandIn, build, compiler
from faultlab import Finding, Lab, Live, end, ending, let_go, lost
from seen import different, samples, watched

from gputrain.engine.events import HardwareSample, Notice, Outcome, RunEnded, Steps

UNKNOWN, LOST = 999, 15
"""Codes of NVML: an unknown error; a GPU that has fallen off the bus."""
LEAST = 12
"""Steps whose samples are compared."""


def cannot_compile() -> str:
    """Why there are no stand-ins for NVML and the clock; empty if there are."""
    return "" if compiler() else "no C compiler: the stand-ins for NVML and for the clock cannot be built"


def nvml_lost(lab: Lab) -> Finding:
    """A GPU falls off the bus, comes back, and then NVML fails as a whole: each told, and the run goes on."""
    library = lab.folder / "nvml"
    if not library.exists():
        library.mkdir()
        build(library)
    stand_in = NvmlStandIn(library / "libnvidia-ml.so.1", lab.folder / "nvml-script")
    stand_in.gpus(2)
    with mock.patch.dict(os.environ, stand_in.env):
        live = lab.launch()
    try:
        live.until(Steps)
        live.until(HardwareSample, lambda sample: [bool(gpu.utilization) for gpu in sample.gpus] == [True, True])
        said = [_told(live, "GPU 0", "fallen off the bus", stand_in, {"gpu0.error": LOST})]
        last = live.until(HardwareSample, since=live.newest + 1)
        half = [(gpu.utilization is None, bool(gpu.error)) for gpu in last.gpus] == [(True, True), (False, False)]
        _told(live, "GPU 0", "can be read again", stand_in, {"gpu0.error": None})
        said.append(_told(live, "GPU 1", "unknown error", stand_in, {"error": UNKNOWN}))
        live.steps_on()
        _told(live, "GPU 1", "can be read again", stand_in, {"error": None})
        live.steps_on()
        finding = Finding(half, lost(live.run), "; ".join(said))
    finally:
        end(live)
    return finding


def _told(live: Live, gpu: str, what: str, stand_in: NvmlStandIn, change: dict[str, object]) -> str:
    since = live.newest + 1
    stand_in.set(change)
    return live.until(Notice, lambda notice: gpu in notice.text and what in notice.text, since=since).text


def memory_runs_out(lab: Lab) -> Finding:
    """A batch too large for a GPU's memory, as its model says: computed in parts, with the same samples, and told."""
    whole, _ = _seen(lab, room=1000)
    seen, live = _seen(lab, room=1)
    told = [event.text for event in live.events if isinstance(event, Notice) and "memory ran out" in event.text]
    halved = len(told) == 2 and "2 parts of 2 images" in told[0] and "4 parts of 1 images" in told[1]
    ended = live.events[-1]
    assert isinstance(ended, RunEnded)
    steps = sum(event.window_steps for event in live.events if isinstance(event, Steps))
    fine = halved and ended.outcome is Outcome.FINISHED and steps == LEAST and len(whole) == 4 * LEAST
    return Finding(fine, lost(live.run) + different(whole, seen), told[-1] if told else ended.reason)


def _seen(lab: Lab, room: int) -> tuple[list[str], Live]:
    live, log = watched(lab, room, max_steps=LEAST, augment="flip")
    try:
        ending(live)
        let_go(live.run)
    finally:
        end(live)
    return samples(log), live
