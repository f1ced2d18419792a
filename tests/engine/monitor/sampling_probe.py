"""A child process that samples on request: a line in, the sample as a line of JSON out; ends with its input."""

from __future__ import annotations

import sys

from gputrain.engine.events import encode
from gputrain.engine.monitor.sampler import Sampler

if __name__ == "__main__":
    sampler = Sampler()
    for _ in sys.stdin:
        print(encode(sampler.sample()).decode(), flush=True)
    sampler.close()
