"""Mean utilization of a GPU, through the real NVML binding against the stand-in library."""

from __future__ import annotations

import os
import subprocess
import sys

from fakes.nvml import RTX_3090, NvmlStandIn

from gputrain.engine.monitor.gpus.mean_utilization import MeanUtilization

ASK = """
import sys, time
from gputrain.engine.monitor.gpus.mean_utilization import MeanUtilization
with MeanUtilization(int(sys.argv[1])) as watch:
    deadline = time.monotonic() + 30
    while watch.mean is None and watch._thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
print(watch.mean)
"""


def mean_of(index: int, stand_in: NvmlStandIn) -> str:
    command = [sys.executable, "-c", ASK, str(index)]
    done = subprocess.run(command, env={**os.environ, **stand_in.env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_mean_utilization_of_the_requested_gpu(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(2, RTX_3090)
    nvml_stand_in.set({"gpu1.utilization": 33})
    assert mean_of(0, nvml_stand_in) == "71.0"
    assert mean_of(1, nvml_stand_in) == "33.0"


def test_missing_or_lost_gpu_has_no_mean(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(1, {**RTX_3090, "error": 15})
    assert mean_of(0, nvml_stand_in) == "None"
    with MeanUtilization(0) as watch:
        pass
    assert watch.mean is None
