"""What a trace adds to the diagnosis: lines that wait, small operators and copies, told apart from each other."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.diagnosis.made_signals import CPU, FED, judged
from helpers.scripts.made_events import LOADER, second, started
from msgspec.structs import replace

from gputrain.engine.diagnosis.advisor import Advisor
from gputrain.engine.events import SyncPoint, Traced, TraceSummary, Tuned

LAUNCHING: dict[str, Any] = {"launch_gap": 0.4, "compute": 0.5, "step_seconds": 0.01}
TRACE = TraceSummary(steps=10, seconds=0.5, on_gpu=True, kernels=0.9, gaps=0.1, launches=5000, mean_kernel=90e-6)
ITEM = SyncPoint("train.py:21", ".item()", 10, 0.02, 0.15)
COPY = SyncPoint("train.py:25", ".cpu()", 10, 0.02, 0.05)


@pytest.mark.parametrize(
    ("trace", "cause", "words"),
    [
        (
            replace(TRACE, gaps=0.4, gaps_sync=0.35, gaps_host=0.05, sync_points=(ITEM, COPY)),
            "sync-points",
            "The GPU is idle after: train.py:21 .item(), train.py:25 .cpu().",
        ),
        (
            replace(TRACE, gaps=0.4, gaps_sync=0.01, gaps_host=0.39, mean_kernel=8e-6),
            "small-operators",
            "compile",
        ),
    ],
)
def test_gaps_of_a_gpu_are_told_apart(trace: TraceSummary, cause: str, words: str) -> None:
    # Without a trace both look the same.
    assert "launch-bound" in judged(FED, **LAUNCHING)
    found = judged(FED, **LAUNCHING, trace=trace)
    assert next(iter(found)) == cause
    assert words in found[cause].action
    assert "launch-bound" not in found
    assert "in the trace" in found[cause].evidence
    assert found[cause].severity == "critical"
    assert found[cause].share == pytest.approx(max(trace.gaps_sync, trace.gaps_host))


def test_long_kernels_behind_gaps_are_no_small_operators() -> None:
    trace = replace(TRACE, gaps=0.4, gaps_host=0.4, mean_kernel=200e-6)
    found = judged(FED, **LAUNCHING, trace=trace)
    assert "small-operators" not in found
    assert "launch-bound" in found


def test_copies_without_overlap() -> None:
    trace = replace(TRACE, copies=0.25, copies_total=0.3, kernels=0.7, gaps=0.05)
    found = judged({**FED, "compute": 0.7}, copy=0.29, trace=trace, changed={"pin_memory": False, "non_blocking": True})
    assert next(iter(found)) == "exposed-copies"
    assert "host-copy" not in found
    assert found["exposed-copies"].changes == {"pin_memory": True}
    assert "in the trace only a copy ran 25 % of the time" in found["exposed-copies"].evidence
    pinned = judged(FED, trace=trace, changed={"pin_memory": True, "non_blocking": True})["exposed-copies"]
    assert pinned.changes == {}
    assert "on a stream of its own" in pinned.action


def test_on_a_cpu_only_small_operators_can_be_seen() -> None:
    trace = TraceSummary(steps=10, seconds=1.0, on_gpu=False, kernels=0.6, gaps=0.3, launches=9000, mean_kernel=40e-6)
    trace = replace(trace, sync_points=(replace(ITEM, idle=0.0),))
    found = judged(CPU, trace=trace)
    assert [name for name in found if name in ("sync-points", "small-operators", "exposed-copies")] == []
    assert "900 operators in a step" in found["small-cpu-operators"].evidence
    assert found["small-cpu-operators"].changes == {"compile": True}
    healthy = judged(CPU, trace=replace(trace, gaps=0.05, kernels=0.9))
    assert list(healthy) == list(judged(CPU))


def test_a_healthy_trace_changes_nothing_and_stands_in_the_path() -> None:
    before, after = judged(FED), judged(FED, trace=TRACE)
    assert list(after) == list(before) == ["compute-bound"]
    assert any(line.startswith("✗ Lines of the code make the host wait") for line in after["compute-bound"].path)


def test_a_trace_of_a_script_holds_until_its_loader_changes() -> None:
    trace = TraceSummary(steps=5, seconds=1.0, on_gpu=False, kernels=0.5, gaps=0.4, launches=9000, mean_kernel=20e-6)
    advisor = Advisor()
    for event in started(LOADER):
        advisor.feed(event)

    def feed(begin: int, end: int) -> set[str]:
        for at in range(begin, end):
            for event in second(float(at), 0.01, None):
                advisor.feed(event)
        return {hint.id for hint in advisor.hints()}

    assert "small-cpu-operators" not in feed(11, 60)
    advisor.feed(Traced(mono=60.0, request="one", verdict="done", steps=5, summary=trace))
    assert "small-cpu-operators" in feed(60, 100)
    hint = next(hint for hint in advisor.hints() if hint.id == "small-cpu-operators")
    # In the words of a script.
    assert hint.action == "Compile the model: torch.compile(model)."
    assert hint.changes == {}
    advisor.feed(Tuned(mono=100.0, verdict="trying", changes={"num_workers": 2}, was={"num_workers": 0}))
    assert "small-cpu-operators" not in feed(100, 160)
