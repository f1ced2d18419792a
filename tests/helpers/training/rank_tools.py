"""Starts real ranks without a supervisor: processes that meet at a TCP store of their own."""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

from gputrain.engine.processes.rank_environment import LOOPBACK, MeetingPoint


def start_ranks(count: int, work: Callable[..., None], *arguments: Any) -> list[int | None]:
    """Exit codes of `count` processes that call `work` with their rank, the meeting point and `arguments`."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        meeting = MeetingPoint(LOOPBACK, listener.getsockname()[1])
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(rank, meeting, *arguments)) for rank in range(count)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        wait([process.sentinel for process in processes if process.is_alive()], timeout=0.2)
        if any(process.exitcode for process in processes):
            # The others might wait for it for ever.
            time.sleep(1)
            for process in processes:
                process.kill()
    return [process.exitcode for process in processes]
