"""Work of other programs is told from one's own."""

from __future__ import annotations

import subprocess
import sys
import time

from gputrain.engine.hardware import external_load
from gputrain.engine.hardware.external_load import ExternalLoad


def work(seconds: float) -> None:
    """Keep a core busy for so much of its time."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_ones_own_work_and_that_of_workers_does_not_count() -> None:
    watch = ExternalLoad()
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"])
    work(0.5)
    child.wait()
    mine = 1.0 / (time.monotonic() - began)
    before = watch._busy
    assert before is not None
    cores = watch.cores()
    assert cores is not None
    # What the whole host did, less the second of this test's two processes.
    whole = ((external_load._busy() or 0.0) - before) / (time.monotonic() - began)
    assert cores <= whole - 0.8 * mine + 0.05
