"""Traces of a GPU, written by hand with the field names of Kineto's JSON: kernels, copies, runtime calls, Python.

No GPU has recorded them: they show that the arithmetic is right, not that a GPU writes exactly this.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gputrain.engine.events.trace import TraceSummary
from gputrain.engine.tracing.intervals import difference, length, union
from gputrain.engine.tracing.kineto_trace import UnreadableTraceError, read_trace
from gputrain.engine.tracing.trace_summary import summarize

START = 5_204_795_510_000_000.0
MAIN, STREAM = 100, 7


class Made:
    """A trace in microseconds from its start."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = [{"ph": "M", "name": "process_name", "pid": 1, "ts": START, "args": {}}]
        self._ids = 0

    def add(self, kind: str, name: str, begin: float, end: float, thread: int = MAIN, **args: Any) -> None:
        event = {"ph": "X", "cat": kind, "name": name, "pid": 1, "tid": thread, "ts": START + begin, "dur": end - begin}
        self.events.append({**event, "args": args})

    def launch(self, operator: str, at: float, begin: float, end: float, kind: str = "kernel", name: str = "k") -> None:
        """An operator that takes 2 µs of the host, and what it runs on the device."""
        self._ids += 1
        self.add("cpu_op", operator, at, at + 2, **{"External id": self._ids})
        self.add("cuda_runtime", "cudaLaunchKernel", at + 0.5, at + 1.5, correlation=self._ids)
        device = {"External id": self._ids, "correlation": self._ids, "stream": STREAM, "device": 0}
        self.add(kind, name, begin, end, STREAM, **device)

    def python(self, name: str, begin: float, end: float, called_from: str = "") -> None:
        args: dict[str, Any] = {"CallFrom": called_from} if called_from else {}
        self.add("python_function", name, begin, end, **args)

    def item(self, line: str, begin: float, end: float) -> None:
        """``loss.item()`` in `line`: the copy of the scalar, and the wait for it."""
        self.python("<built-in method item of Tensor object at 0x7f18607774d0>", begin, end, line)
        self.add("cpu_op", "aten::item", begin, end, **{"External id": 9001})
        self.add("cpu_op", "aten::_local_scalar_dense", begin, end, **{"External id": 9002})
        self.add("cuda_runtime", "cudaStreamSynchronize", begin + 1, end - 1)

    def summary(self, folder: Path, steps: int = 1) -> TraceSummary:
        file = folder / "made.json"
        file.write_text(json.dumps({"schemaVersion": 1, "traceEvents": self.events}))
        return summarize(read_trace(file), steps)


def test_operators_are_ordered_by_the_time_of_their_kernels(tmp_path: Path) -> None:
    made = Made()
    made.launch("aten::mm", 0, 10, 40)
    made.launch("aten::mm", 3, 40, 60)
    made.launch("aten::relu", 6, 60, 65)
    made.launch("aten::copy_", 9, 65, 75, "gpu_memcpy", "Memcpy HtoD (Pinned -> Device)")
    # A kernel of a CUDA graph belongs to no operator.
    made.add("kernel", "fused_kernel", 75, 100, STREAM, correlation=77, stream=STREAM)
    found = made.summary(tmp_path)
    assert [(one.name, one.calls) for one in found.operators] == [
        ("aten::mm", 2),
        ("fused_kernel", 1),
        ("aten::copy_", 1),
        ("aten::relu", 1),
    ]
    assert [round(1e6 * one.seconds) for one in found.operators] == [50, 25, 10, 5]
    assert found.operators[0].share == pytest.approx(50 / 90)
    assert found.on_gpu
    assert found.launches == 4
    assert found.mean_kernel == pytest.approx(20e-6)


def test_copies_count_as_far_as_no_kernel_runs_beside_them(tmp_path: Path) -> None:
    made = Made()
    made.launch("aten::mm", 0, 0, 60)
    made.launch("aten::copy_", 3, 40, 80, "gpu_memcpy", "Memcpy HtoD (Pageable -> Device)")
    made.add("user_annotation", "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__", 70, 95)
    made.launch("aten::mm", 96, 100, 200)
    found = made.summary(tmp_path)
    assert found.seconds == pytest.approx(200e-6)
    assert found.kernels == pytest.approx(160 / 200)
    assert found.copies == pytest.approx(20 / 200)
    assert found.copies_total == pytest.approx(40 / 200)
    assert found.data == pytest.approx(15 / 200)
    assert found.gaps == pytest.approx(5 / 200)
    assert found.kernels + found.copies + found.data + found.gaps == pytest.approx(1)


def test_a_gap_after_item_is_told_apart_from_a_host_that_is_too_slow(tmp_path: Path) -> None:
    made = Made()
    made.python("train.py(8): step", 0, 400, "train.py:30")
    made.launch("aten::mm", 0, 5, 100)
    # The host waits until the device has nothing left; then the device waits for the next launch.
    made.item("train.py:21", 10, 105)
    made.launch("aten::mm", 150, 160, 200)
    # No wait here: the host needs its time for Python.
    made.launch("aten::mm", 270, 280, 330)
    # The host waits while the device has work: no gap.
    made.item("train.py:25", 331, 360)
    made.launch("aten::mm", 272, 330, 400)
    found = made.summary(tmp_path)
    assert found.gaps == pytest.approx((5 + 60 + 80) / 400)
    assert found.gaps_sync == pytest.approx(60 / 400)
    assert found.gaps_host == pytest.approx((5 + 80) / 400)
    first, second = found.sync_points
    assert (first.line, first.call, first.count) == ("train.py:21", ".item()", 1)
    assert first.idle == pytest.approx(60e-6)
    assert first.seconds == pytest.approx(93e-6)
    assert (second.line, second.idle) == ("train.py:25", 0)


def test_lines_of_libraries_are_passed_over_for_the_users_own(tmp_path: Path) -> None:
    made = Made()
    made.launch("aten::mm", 0, 2, 50)
    made.python("my/train.py(8): step", 0, 90, "my/train.py:40")
    made.python("my/metrics.py(3): accuracy", 5, 80, "my/train.py:12")
    made.python("torch/_tensor.py(900): tolist", 6, 70, "my/metrics.py:5")
    made.python("<built-in method cpu of Tensor object at 0x1>", 7, 60, "torch/_tensor.py:901")
    made.add("cuda_runtime", "cudaStreamSynchronize", 8, 55)
    # A trace of an older torch has no callers, only where functions begin.
    made.python("old.py(7): log", 100, 130)
    made.python("<built-in method item of Tensor object at 0x2>", 101, 120)
    made.add("cuda_runtime", "cudaStreamSynchronize", 102, 119)
    # And one that was recorded without Python stacks.
    made.add("cuda_runtime", "cudaDeviceSynchronize", 140, 141)
    found = made.summary(tmp_path)
    assert [(one.line, one.call) for one in found.sync_points] == [
        ("my/metrics.py:5", ".cpu()"),
        ("old.py:7", ".item()"),
        ("", "cudaDeviceSynchronize"),
    ]


def test_text_of_a_trace_is_sanitized_and_a_wrong_file_is_named(tmp_path: Path) -> None:
    made = Made()
    made.launch("aten::mm\x1b[31m\n", 0, 5, 10)
    made.item("a\x1b]0;x\x07.py:3", 6, 12)
    found = made.summary(tmp_path)
    assert found.operators[0].name == "aten::mm "
    assert found.sync_points[0].line == "a.py:3"
    for text in ("", "{}", '{"traceEvents": [{"ph": 3}]}', '{"traceEvents": [', "\xff"):
        (tmp_path / "wrong.json").write_text(text)
        with pytest.raises(UnreadableTraceError):
            read_trace(tmp_path / "wrong.json")
    (tmp_path / "empty.json").write_text('{"traceEvents": []}')
    assert summarize(read_trace(tmp_path / "empty.json"), 0) == TraceSummary(steps=0, seconds=0.0, on_gpu=False)


def test_intervals() -> None:
    merged = union([(5, 7), (0, 2)], [(1, 3), (7, 8), (9, 9)])
    assert merged == [(0, 3), (5, 8)]
    assert difference(merged, [(1, 2), (2.5, 6), (7, 20)]) == [(0, 1), (2, 2.5), (6, 7)]
    assert difference(merged, []) == merged
    assert length(merged) == 6
