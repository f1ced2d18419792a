"""A child process that samples on request: a line in, the sample as a line of JSON out; ends with its input."""

from __future__ import annotations

import os
import sys

from gputrain.engine.events import encode
from gputrain.engine.monitor.gpus import gpu_threads
from gputrain.engine.monitor.sampler import Sampler

if __name__ == "__main__":
    gpu_threads.REOPEN_AFTER = float(os.environ.get("REOPEN_AFTER", gpu_threads.REOPEN_AFTER))
    chosen = os.environ.get("ONLY_GPUS")
    sampler = Sampler(gpus=frozenset(map(int, chosen.split(","))) if chosen else None)
    for _ in sys.stdin:
        print(encode(sampler.sample()).decode(), flush=True)
    sampler.close()
