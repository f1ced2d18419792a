"""External load counts other programs only."""

from __future__ import annotations

import subprocess
import sys
import time

from gputrain.engine.hardware import external_load
from gputrain.engine.hardware.external_load import ExternalLoad


def work(seconds: float) -> None:
    """Use a core for `seconds` of CPU time."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_own_work_is_not_external_load() -> None:
    watch = ExternalLoad()
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"])
    work(0.5)
    child.wait()
    own = 1.0 / (time.monotonic() - began)
    before = watch._busy
    assert before is not None
    cores = watch.cores()
    assert cores is not None
    # The use of the whole host, less the second of this test's two processes.
    whole = ((external_load._busy() or 0.0) - before) / (time.monotonic() - began)
    assert cores <= whole - 0.8 * own + 0.05
