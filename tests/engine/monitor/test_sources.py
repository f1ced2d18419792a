"""The sampler's values agree with their sources: psutil's counters, free, df, and the scripted GPUs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "sources.py"


def test_monitor_agrees_with_its_sources() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--json", "--seconds", "0.5"], capture_output=True, text=True
    )
    assert done.stderr == ""
    rows = json.loads(done.stdout)["rows"]
    assert [row for row in rows if not row["agrees"]] == []
    assert {"cores busy", "disk written, bytes/s", "net received, bytes/s"} <= {row["figure"] for row in rows}
