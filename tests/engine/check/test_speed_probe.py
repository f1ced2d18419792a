"""The speed test in its child process: a real one on the CPU, and children that fail."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from gputrain.engine.check.speed_probe import Probe, Speed, run_probe, speed_lines

GPU = Speed(
    torch="2.15.0+cu132",
    cuda="13.2",
    device="cuda",
    device_name="NVIDIA GeForce RTX 3090",
    matmul={"fp32": 25e12, "tf32": 30e12, "fp16": 60e12, "bf16": 60e12},
    copies={"to the GPU, pinned": 25e9, "to the GPU, unpinned": 8e9},
)


def test_the_cpu_is_measured_in_a_child() -> None:
    ticks: list[int] = []
    probe = run_probe("cpu", lambda: ticks.append(1))
    assert probe.speed is not None, probe.error
    assert probe.speed.device == "cpu"
    assert set(probe.speed.matmul) == {"fp32", "bf16"}
    assert all(rate > 1e8 for rate in probe.speed.matmul.values())
    assert probe.speed.torchvision_error == ""
    assert ticks


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise ImportError('libcudart.so.13: cannot open shared object file')", "libcudart.so.13"),
        ("import os; os.kill(os.getpid(), 11)", "signal 11"),
        ("import time; time.sleep(60)", "gave no answer in 1 s"),
    ],
)
def test_failing_torch_import_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    (tmp_path / "torch.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    probe = run_probe("auto", seconds=1.0 if "sleep" in code else 60.0)
    assert probe.speed is None
    assert words in probe.error
    assert [line.level for line in speed_lines(probe, None, gpu_expected=False)] == ["problem"]


def levels(speed: Speed, link: tuple[int, int] | None = (4, 16), gpu_expected: bool = True) -> dict[str, str]:
    return {line.title: line.level for line in speed_lines(Probe(speed), link, gpu_expected=gpu_expected)}


def test_speed_is_compared_with_the_data_sheet() -> None:
    matmul, copies = speed_lines(Probe(GPU), (4, 16), gpu_expected=True)
    assert "fp16 60 TFLOP/s (84% of 71 TFLOP/s)" in matmul.text
    assert "tf32 30 TFLOP/s (84% of 36 TFLOP/s)" in matmul.text
    assert copies.text == "to the GPU, pinned 25.0 GB/s, to the GPU, unpinned 8.0 GB/s; PCIe 4 ×16 allows 32 GB/s"
    assert levels(GPU) == {"matmul": "ok", "copies": "ok"}


def test_slow_gpu_is_a_finding() -> None:
    slow = msgspec.structs.replace(GPU, matmul={"fp16": 30e12}, copies={"to the GPU, pinned": 6e9})
    assert levels(slow) == {"matmul": "warning", "copies": "note"}
    assert levels(slow, None)["copies"] == "ok"
    unknown = msgspec.structs.replace(slow, device_name="Some GPU")
    assert levels(unknown)["matmul"] == "ok"


def test_gpu_unusable_by_torch_is_a_problem_if_expected() -> None:
    broken = msgspec.structs.replace(GPU, device="cpu", gpu_error="no kernel image", copies={})
    assert levels(broken)["CUDA"] == "problem"
    assert "CUDA" not in levels(broken, gpu_expected=False)
    vision = msgspec.structs.replace(GPU, torchvision_error="RuntimeError: operator torchvision::nms does not exist")
    found = speed_lines(Probe(vision), None, gpu_expected=True)[0]
    assert (found.title, found.level) == ("torchvision", "problem")
    assert found.commands == (
        "pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/cu132",
    )
