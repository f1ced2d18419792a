"""A process of each node that has imported torch and forks the ranks, so that a restart imports nothing.

It is multiprocessing's fork server. It has no threads of Python, and never touches a GPU: CUDA can't be used after a
fork. Imports no torch in this process.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import psutil

from gputrain.engine.processes import scheduler_signals
from gputrain.engine.supervision.trainer_process import standard_streams_to

_PRELOADED = ["gputrain.engine.training.loop.preload"]


def context() -> ForkServerContext:
    """The context whose processes it forks. Their start waits until it has imported everything."""
    return multiprocessing.get_context("forkserver")


def start(log: Path) -> None:
    """Start it unless it runs, and return at once. `log` gets what its processes print. Raises OSError."""
    context().set_forkserver_preload(_PRELOADED)
    with standard_streams_to(log), scheduler_signals.blocked_signals():
        forkserver.ensure_running()


def pid() -> int | None:
    """Its process id; None before its start."""
    found: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return found


def is_alive() -> bool:
    """Whether it runs. If not, the kernel has killed its ranks, and their exit codes are not known."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid() or 0).status() != psutil.STATUS_ZOMBIE
    return False


def torch_version() -> str:
    """Of the installed torch, which is not imported; empty without one."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""
