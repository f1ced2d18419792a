"""Samples of a machine that has no supervisor: its node agent, or the first rank there, sends them."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gputrain.engine.events import HardwareSample, NodeSample
from gputrain.engine.monitor.sampler import Sampler, next_due

NODE_SECONDS = 10.0
"""Time between two samples. The thread shares the interpreter with the training loop: a sample takes some
milliseconds of it."""


def start_node_sampling(
    host: str,
    send: Callable[[NodeSample], None],
    seconds: float = NODE_SECONDS,
    root: int | None = None,
    data_path: Path | None = None,
) -> None:
    """Sample this machine on a thread of its own until the process ends; `send` gets each sample on that thread.

    `root`: the process whose descendants are those of the run; None: this one's parent. `data_path`: on the disk of the
    data.
    """
    # Ranks of one launcher are siblings; init's tree would be the whole machine.
    top = root or (os.getppid() if os.getppid() > 1 else os.getpid())

    def sample() -> None:
        with contextlib.closing(Sampler(run_pids=lambda: (top,), data_path=data_path)) as sampler:
            due = time.monotonic()
            while True:
                send(node_sample(host, sampler.sample()))
                due = next_due(due, seconds)
                time.sleep(max(0.0, due - time.monotonic()))

    threading.Thread(target=sample, name="node sampler", daemon=True).start()


def node_sample(host: str, sample: HardwareSample) -> NodeSample:
    """The part of a sample that is shown of another machine, and tells why a rank is slow."""
    disk = sample.disk
    return NodeSample(
        host=host,
        cpu_percent=sample.cpu_percent,
        usable_cores=sample.usable_cores,
        foreign_cpu=sample.foreign_cpu,
        other_processes=sample.other_processes,
        gpus=sample.gpus,
        ram_total=sample.ram_total,
        ram_available=sample.ram_available,
        disk_read=disk.read_rate if disk else None,
        disk_write=disk.write_rate if disk else None,
        disk_busy=disk.device_busy if disk else None,
        net_rx=sample.net_rx,
        net_tx=sample.net_tx,
    )
