"""Child jobs: what the work of a job may do."""

from __future__ import annotations

import subprocess
import sys

import msgspec

_JOB = """
import multiprocessing, sys
from msgspec import Struct
from gputrain.engine.processes import child_entry

class Order(Struct):
    seconds: float

class Result(Struct):
    exit_code: int | None

def work(order, reporter, control, progress):
    worker = multiprocessing.get_context("fork").Process(target=len, args=((),))
    worker.start()
    worker.join(order.seconds)
    if worker.is_alive():
        worker.kill()
        return Result(None)
    return Result(worker.exitcode)

child_entry.serve_job(Order, work)
"""


def test_work_may_fork_workers_while_the_parent_is_watched() -> None:
    """As the data loader of a user's own Dataset does: a forked worker closes standard input first."""
    with subprocess.Popen([sys.executable, "-c", _JOB], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as job:
        assert job.stdin is not None
        assert job.stdout is not None
        job.stdin.write(b'{"seconds": 30}\n')
        job.stdin.flush()  # and it stays open, as long as the job runs
        replies = [msgspec.json.decode(line) for line in job.stdout]
    assert replies[-1] == {"type": "done", "result": {"exit_code": 0}}
