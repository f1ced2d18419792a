"""Measures matmul and copy speed of the device in a few seconds, in a process of its own.

``python -m gputrain.engine.training.benchmark.speed_test [auto|cuda|cpu]`` prints a `Speed` as JSON.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator

import msgspec
import torch

from gputrain.engine.check.speed_probe import Speed
from gputrain.engine.common.sanitize import plain
from gputrain.engine.hardware.machine import inspect_machine

_SECONDS = 0.4
"""Duration of each measurement."""
_GPU_SIDE, _CPU_SIDE, _SMALL_SIDE = 8192, 1024, 2048
"""Matrix sizes; the small one for GPUs with little free memory."""
_COPY_BYTES = 256 << 20


def measure(device: str) -> Speed:
    """The speed of `device`: ``cuda``, ``cpu``, or ``auto`` for the GPU if it can be used."""
    gpu_error = _gpu_error() if device != "cpu" else ""
    on_gpu = device != "cpu" and not gpu_error
    return Speed(
        torch=str(torch.__version__),
        cuda=torch.version.cuda or "",
        device="cuda" if on_gpu else "cpu",
        device_name=torch.cuda.get_device_name() if on_gpu else inspect_machine().cpu_model,
        gpu_error=gpu_error,
        torchvision_error=_torchvision_error(),
        matmul=dict(_matmuls("cuda" if on_gpu else "cpu")),
        copies=dict(_copies()) if on_gpu else {},
    )


def _gpu_error() -> str:
    """Why no kernel runs on the GPU; empty if one does."""
    try:
        # The first use of the device fails for an old driver, an exclusive GPU, missing kernels.
        torch.ones(8, device="cuda").sum().item()
    except (RuntimeError, AssertionError) as error:
        return plain(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__, 300)
    return ""


def _torchvision_error() -> str:
    """Why torchvision's compiled part cannot be used; empty if it can."""
    try:
        from torchvision.ops import nms

        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        return plain(f"{type(error).__name__}: {error}", 300)
    return ""


def _matmuls(device: str) -> Iterator[tuple[str, float]]:
    """FLOP/s of a square matrix product in each precision of the device."""
    if device == "cpu":
        torch.set_num_threads(max(1, math.ceil(inspect_machine().usable_cores)))
        yield "fp32", _matmul("cpu", torch.float32, _CPU_SIDE)
        yield "bf16", _matmul("cpu", torch.bfloat16, _CPU_SIDE)
        return
    torch.backends.cuda.matmul.allow_tf32 = False
    yield "fp32", _gpu_matmul(torch.float32)
    capability = torch.cuda.get_device_capability()
    if capability >= (8, 0):
        torch.backends.cuda.matmul.allow_tf32 = True
        yield "tf32", _gpu_matmul(torch.float32)
    if capability >= (7, 0):
        yield "fp16", _gpu_matmul(torch.float16)
    if capability >= (8, 0):
        yield "bf16", _gpu_matmul(torch.bfloat16)


def _gpu_matmul(dtype: torch.dtype) -> float:
    try:
        return _matmul("cuda", dtype, _GPU_SIDE)
    except torch.OutOfMemoryError:
        return _matmul("cuda", dtype, _SMALL_SIDE)


def _matmul(device: str, dtype: torch.dtype, side: int) -> float:
    first, second = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    result = torch.empty(side, side, device=device, dtype=dtype)
    return 2 * side**3 * _rate(lambda: torch.mm(first, second, out=result), device)


def _copies() -> Iterator[tuple[str, float]]:
    """Bytes per second between host and GPU."""
    on_gpu = torch.empty(_COPY_BYTES, dtype=torch.uint8, device="cuda")
    for kind in ("pinned", "unpinned"):
        host = torch.zeros(_COPY_BYTES, dtype=torch.uint8, pin_memory=kind == "pinned")

        def to_gpu(host: torch.Tensor = host) -> object:
            return on_gpu.copy_(host, non_blocking=True)

        def from_gpu(host: torch.Tensor = host) -> object:
            return host.copy_(on_gpu, non_blocking=True)

        yield f"to the GPU, {kind}", _COPY_BYTES * _rate(to_gpu, "cuda")
        yield f"from the GPU, {kind}", _COPY_BYTES * _rate(from_gpu, "cuda")


def _rate(work: Callable[[], object], device: str) -> float:
    """Calls per second after two warm-up calls; the clock is read after groups of calls."""

    def settle() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(2):
        work()
    settle()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < _SECONDS:
        for _ in range(3):
            work()
        settle()
        count += 3
    return count / (time.perf_counter() - began)


def main() -> None:
    """Measure the device named on the command line."""
    device = sys.argv[1] if len(sys.argv) > 1 else "auto"
    print(msgspec.json.encode(measure(device)).decode(), flush=True)


if __name__ == "__main__":
    main()
