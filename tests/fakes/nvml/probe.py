"""The sampler in a child process that loads the stand-in for NVML: samples on request."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from fakes.nvml import NvmlStandIn

from gputrain.engine.events import HardwareSample, decode

PROBE = Path(__file__).with_name("sampling_probe.py")


class Probe:
    """Samples taken by a child process that loads the stand-in library."""

    def __init__(self, stand_in: NvmlStandIn, **env: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, str(PROBE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **stand_in.env, **env},
        )
        self.pid = self._child.pid

    def sample(self) -> HardwareSample:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write("\n")
        self._child.stdin.flush()
        sample = decode(self._child.stdout.readline().encode())
        assert isinstance(sample, HardwareSample)
        return sample

    def until(self, description: str, found: object = True) -> HardwareSample:
        """Sample until `description` (an expression over ``s``, the sample) is `found`."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            s = self.sample()
            if eval(description, {"s": s}) == found:
                return s
            time.sleep(0.05)
        raise AssertionError(f"{description} was not {found!r} within 30 s; last: {s.gpus} {s.gpu_error}")

    def close(self) -> int:
        """End the child by closing its input; its exit code."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.stdout.close()
        return self._child.wait(timeout=20)
