"""Samples of a machine that has no supervisor: the first rank there sends them to rank 0."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable

from gputrain.engine.events import HardwareSample, NodeSample
from gputrain.engine.monitor.sampler import Sampler, next_due

NODE_SECONDS = 10.0
"""Time between two samples. The thread shares the interpreter with the training loop: a sample takes some
milliseconds of it."""


def start_node_sampling(host: str, send: Callable[[NodeSample], None], seconds: float = NODE_SECONDS) -> None:
    """Sample this machine on a thread of its own until the process ends; `send` gets each sample on that thread."""

    def sample() -> None:
        # Ranks of one launcher are siblings; init's tree would be the whole machine.
        root = os.getppid() if os.getppid() > 1 else os.getpid()
        with contextlib.closing(Sampler(run_pids=lambda: (root,))) as sampler:
            due = time.monotonic()
            while True:
                send(node_sample(host, sampler.sample()))
                due = next_due(due, seconds)
                time.sleep(max(0.0, due - time.monotonic()))

    threading.Thread(target=sample, name="node sampler", daemon=True).start()


def node_sample(host: str, sample: HardwareSample) -> NodeSample:
    """The part of a sample that tells why a rank is slow."""
    return NodeSample(
        host=host,
        cpu_percent=sample.cpu_percent,
        usable_cores=sample.usable_cores,
        foreign_cpu=sample.foreign_cpu,
        other_processes=sample.other_processes,
        gpus=sample.gpus,
    )
