"""A trace that torch's profiler has written, read without torch and compared with torch's own table of it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gputrain.engine.events.trace import TraceSummary
from gputrain.engine.probe.on_request import step_trace
from gputrain.engine.probe.on_request.step_trace import StepTrace
from gputrain.engine.tracing.kineto_trace import read_trace
from gputrain.engine.tracing.trace_summary import summarize

STEPS = 4


class Recorded:
    """A small training, traced; `table` are torch's own averages of the same trace."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "trace.json"
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 10))
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01)
        data = TensorDataset(torch.randn(64, 3, 16, 16), torch.randint(0, 10, (64,)))
        self.batches = iter(DataLoader(data, batch_size=8))
        self.losses = [self.step()]
        trace = StepTrace()
        assert trace.begin(str(self.file), STEPS) == ""
        assert trace.recording
        profiler = trace._profiler
        assert profiler is not None
        while True:
            self.losses.append(self.step())
            if trace.step_done():
                break
        assert trace.end() == ""
        assert trace._profiler is None
        self.table: list[Any] = list(profiler.key_averages())

    def step(self) -> float:
        x, y = next(self.batches)
        loss = nn.functional.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()  # a line that would wait for a GPU


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return Recorded(tmp_path_factory.mktemp("trace"))


def test_the_ten_rows_are_those_of_torchs_own_table(recorded: Recorded) -> None:
    found = summarize(read_trace(recorded.file), STEPS)
    own = [one for one in recorded.table if not one.is_user_annotation]
    own.sort(key=lambda one: -one.self_cpu_time_total)
    assert [row.name for row in found.operators] == [one.key for one in own[:10]]
    for row, one in zip(found.operators, own, strict=False):
        assert row.calls == one.count
        assert row.seconds == pytest.approx(one.self_cpu_time_total / 1e6, rel=1e-3, abs=2e-6)
    total = sum(one.self_cpu_time_total for one in own)
    assert found.operators[0].share == pytest.approx(own[0].self_cpu_time_total / total, rel=1e-3)


def test_the_shares_are_the_whole_time(recorded: Recorded) -> None:
    found = summarize(read_trace(recorded.file), STEPS)
    assert (found.steps, found.on_gpu) == (STEPS, False)
    assert found.kernels + found.copies + found.data + found.gaps == pytest.approx(1.0)
    assert min(found.kernels, found.data, found.gaps) > 0
    waits = [one for one in recorded.table if one.key.startswith("enumerate(DataLoader)")]
    assert found.data * found.seconds == pytest.approx(sum(one.cpu_time_total for one in waits) / 1e6, rel=1e-3)
    assert found.mean_kernel is not None
    assert found.launches > 10 * STEPS


def test_the_line_of_item_is_named_and_costs_nothing_on_a_cpu(recorded: Recorded) -> None:
    found = summarize(read_trace(recorded.file), STEPS)
    line = next(
        number for number, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "loss.item()" in text
    )
    assert [(one.line.rsplit("/")[-1], one.call, one.count) for one in found.sync_points] == [
        (f"test_real_trace.py:{line}", ".item()", STEPS)
    ]
    assert found.sync_points[0].idle == found.gaps_sync == 0.0


def test_the_losses_are_those_without_a_trace(recorded: Recorded) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 10))
    again = object.__new__(Recorded)
    again.model, again.optimizer = model, torch.optim.SGD(model.parameters(), 0.01)
    data = TensorDataset(torch.randn(64, 3, 16, 16), torch.randint(0, 10, (64,)))
    again.batches = iter(DataLoader(data, batch_size=8))
    assert [again.step() for _ in range(STEPS + 1)] == recorded.losses


def test_a_process_of_its_own_summarizes_and_compresses(recorded: Recorded, tmp_path: Path) -> None:
    raw, kept = tmp_path / "raw.json", tmp_path / "kept.json.gz"
    raw.write_bytes(recorded.file.read_bytes())
    command = [sys.executable, "-m", "gputrain.engine.tracing", str(raw), str(kept), str(STEPS)]
    done = subprocess.run(command, capture_output=True, check=True)
    assert msgspec.json.decode(done.stdout, type=TraceSummary) == summarize(read_trace(recorded.file), STEPS)
    assert not raw.exists()
    assert json.loads(gzip.decompress(kept.read_bytes()))["traceEvents"]
    # As a full disk leaves it.
    raw.write_bytes(recorded.file.read_bytes()[:-1000])
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith(b"the trace is incomplete or no trace: ")
    assert not raw.exists()


def test_nothing_is_recorded_on_a_full_disk_or_beside_another_profiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = StepTrace()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as own:
        assert trace.begin(str(tmp_path / "a.json"), 3) == "another profiler is recording in this process"
        torch.ones(3).exp()
    assert not trace.recording
    assert "aten::exp" in [one.key for one in own.key_averages()]
    assert "No such file" in trace.begin(str(tmp_path / "none" / "a.json"), 3)
    assert trace.begin(str(tmp_path / "a.json"), 3) == ""
    assert trace.end() == "no step was recorded"
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    assert trace.begin(str(tmp_path / "a.json"), 3) == ""
    trace.step_done()
    monkeypatch.setattr(step_trace, "LEAST_FREE", free * 2)
    assert f"{free * 2 >> 20}" in trace.end()
    assert "MiB left; a trace needs" in trace.begin(str(tmp_path / "a.json"), 3)
    assert list(tmp_path.iterdir()) == []
    autograd: Any = torch.autograd
    assert autograd._profiler_enabled() is False


def test_a_profiler_that_fails_at_its_end_is_named(tmp_path: Path) -> None:
    trace = StepTrace()
    assert trace.begin(str(tmp_path / "a.json"), 1) == ""
    assert trace._profiler is not None
    stop = trace._profiler.stop

    def failing() -> None:
        stop()
        raise IndexError("list index out of range")

    trace._profiler.stop = failing
    assert trace.step_done()
    assert trace.end() == "torch's profiler failed: IndexError: list index out of range"
    assert not trace.recording
