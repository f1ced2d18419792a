"""What a process imports that forks ranks."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys, threading
import torch

def touched(*_arguments, **_named):
    raise SystemExit("a GPU was touched: CUDA cannot be used in a fork")

for name in ("_cuda_init", "_cuda_getDeviceCount", "_cuda_getDevice", "_cuda_setDevice"):
    setattr(torch._C, name, touched)
import gputrain.engine.training.loop.preload as preload
missing = [name for name in preload._MODULES if name not in sys.modules]
assert not missing, missing
assert threading.active_count() == 1, threading.enumerate()
assert not torch.distributed.is_initialized()
"""


@pytest.mark.long
def test_everything_is_imported_without_a_thread_or_a_gpu() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
