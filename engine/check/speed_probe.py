"""The speed test of the system check: matrix products and copies, measured by torch in a child process.

The child keeps torch out of this process, and a hanging driver cannot block it.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from gputrain.engine.check.findings import Line
from gputrain.engine.common.sanitize import plain
from gputrain.engine.hardware.peak_flops import peak_flops
from gputrain.engine.hardware.torch_compatibility import wheel_index

PROBE_SECONDS = 120.0
"""Timeout of the child in seconds; importing torch from a cold network disk takes most of it."""
_TICK = 0.5
_KILL_SECONDS = 5.0
_LANE = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.563e9}
"""Bytes per second of one PCIe lane in one direction, by generation (PCI-SIG: rate × encoding)."""
_MATMUL_SHARE = 0.5
"""Share of the data sheet's rate below which a large matrix product is slow: healthy cards reach 65–95 %."""
_COPY_SHARE = 0.6
"""Share of the link's rate below which pinned copies are slow: healthy links reach 80–90 %."""


class Speed(Struct, frozen=True, kw_only=True):
    """Measured speed of torch on this machine."""

    torch: str
    cuda: str
    """CUDA version of the torch build; empty without CUDA."""
    device: str
    """The measured device, ``cuda`` or ``cpu``."""
    device_name: str
    gpu_error: str = ""
    """Why torch cannot use the GPU although it was built for one."""
    torchvision_error: str = ""
    matmul: Mapping[str, float]
    """Precision → operations per second of a large matrix product (a multiply-add counts as two)."""
    copies: Mapping[str, float] = {}
    """``to the GPU, pinned`` … → bytes per second."""


class Probe(Struct, frozen=True):
    """The result: a speed, or the reason why there is none."""

    speed: Speed | None
    error: str = ""


def run_probe(device: str = "auto", tick: Callable[[], None] | None = None, seconds: float = PROBE_SECONDS) -> Probe:
    """Measure in a child process, which takes some seconds; calls `tick` about twice a second meanwhile."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "gputrain.engine.training.benchmark.device_speed", device],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + seconds
    try:
        while True:
            try:
                out, said = child.communicate(timeout=_TICK)
                return _outcome(child.returncode, out, said)
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    return Probe(None, f"the speed test gave no answer in {seconds:g} s")
                if tick is not None:
                    tick()
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.kill()
        # A process that hangs in the driver does not even react to SIGKILL: do not wait for it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_KILL_SECONDS)
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


def _outcome(code: int, out: bytes, said: bytes) -> Probe:
    lines = out.decode("utf-8", "replace").strip().splitlines()
    try:
        # Libraries may print as well; the result is the last line.
        return Probe(msgspec.json.decode(lines[-1] if lines else "", type=Speed))
    except msgspec.DecodeError:
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Probe(None, plain(f"the speed test ended with {how}" + (f": {last[0]}" if last else ""), 400))


def speed_lines(probe: Probe, link: tuple[int, int] | None, *, gpu_expected: bool) -> list[Line]:
    """The findings. `link`: PCIe generation and width of the first GPU under load; None: unknown. Pure."""
    speed = probe.speed
    if speed is None:
        # A child that dies while it imports torch or starts CUDA: the trainer would die as well.
        return [Line("speed", "speed test", probe.error, "problem")]
    lines = []
    if speed.torchvision_error:
        command = f"pip install --force-reinstall torch torchvision{wheel_index(speed.torch)}"
        text = f"torchvision cannot be used: {speed.torchvision_error}"
        lines.append(Line("speed", "torchvision", text, "problem", (command,)))
    if speed.gpu_error and gpu_expected:
        lines.append(Line("speed", "CUDA", f"torch cannot use the GPU: {speed.gpu_error}", "problem"))
    lines.append(_matmul(speed))
    if speed.copies:
        lines.append(_copies(speed, link))
    return lines


def _matmul(speed: Speed) -> Line:
    shown, slow = [], False
    for precision, rate in speed.matmul.items():
        text = f"{precision} {_tera(rate)}"
        peak = _peak(precision, speed.device_name) if speed.device == "cuda" else None
        if peak is not None:
            text += f" ({rate / peak:.0%} of {_tera(peak)})"
            slow = slow or rate < _MATMUL_SHARE * peak
        shown.append(text)
    text = f"{speed.device_name}: " + ", ".join(shown)
    if slow:
        causes = "check the power limit, the temperature and other programs on it"
        return Line("speed", "matmul", f"{text}: slow for this card; {causes}", "warning")
    return Line("speed", "matmul", text)


def _peak(precision: str, device: str) -> float | None:
    kinds: dict[str, Literal["fp32", "fp16", "bf16"]] = {"fp16": "fp16", "bf16": "bf16"}
    return peak_flops(device, kinds.get(precision, "fp32"), tf32=precision == "tf32")


def _tera(rate: float) -> str:
    tera = rate / 1e12
    if tera < 0.1:
        return f"{tera * 1000:.0f} GFLOP/s"
    return f"{tera:,.0f} TFLOP/s" if tera >= 10 else f"{tera:.2f} TFLOP/s"


def _copies(speed: Speed, link: tuple[int, int] | None) -> Line:
    text = ", ".join(f"{name} {rate / 1e9:.1f} GB/s" for name, rate in speed.copies.items())
    lane = _LANE.get(link[0]) if link else None
    if link is None or lane is None:
        return Line("speed", "copies", text)
    limit = lane * link[1]
    text += f"; PCIe {link[0]} ×{link[1]} allows {limit / 1e9:.0f} GB/s"
    pinned = [rate for name, rate in speed.copies.items() if "pinned" in name and "un" not in name]
    if pinned and max(pinned) < _COPY_SHARE * limit:
        return Line("speed", "copies", f"{text}: slower than the link", "note")
    return Line("speed", "copies", text)
