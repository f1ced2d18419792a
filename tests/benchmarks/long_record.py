"""Opening the record of a very long run: ``python tests/benchmarks/long_record.py [--events 10000000] [--json]``.

Writes the record of a run with that many events (ten million: eleven days), then opens it in a child process until all
values are there, and in the dashboard until a value is on the screen.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import harness
from helpers.tui import scripted
from terminals import cost

from gputrain.engine.events import encode, stamp
from gputrain.engine.launching import launch
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.milestones import Milestones
from gputrain.engine.runs.run_directory import RunDir

WALL = 1_790_000_000.0
BLOCK_SECONDS = 20
"""Scripted training repeats after so many seconds, an epoch: lines of it are written again with other numbers."""


def write(run: RunDir, events: int) -> None:
    """A record of `events` events of a run with one GPU, 10 windows of steps a second."""
    milestones = Milestones(run.events, fresh=True)
    mono, seq = 100.0, 0
    block = [(encode(event), event, later) for event, later in scripted.training(BLOCK_SECONDS)]
    steps_each = 2 * sum(event.__class__.__name__ == "Steps" for _, event, _ in block)
    with run.events.open("wb", buffering=1 << 20) as file:
        for event in scripted.start():
            seq += 1
            line = encode(stamp(event, seq, WALL + mono, mono))
            milestones.note(event, line)
            file.write(line + b"\n")
        done = 0
        while seq < events:
            for line, event, later in block:
                seq += 1
                mono += later
                # The first keys of a line are its type and its number; others of the same name come later.
                text = line.replace(
                    b'{"type"', b'{"seq":%d,"v":1,"wall":%f,"mono":%f,"type"' % (seq, WALL + mono, mono), 1
                )
                if (step := getattr(event, "step", None)) is not None:
                    text = text.replace(b'"step":%d,' % step, b'"step":%d,' % (step + done), 1)
                milestones.note(event, text)
                file.write(text + b"\n")
            done += steps_each
        end = encode(stamp(scripted.finished(), seq + 1, WALL + mono, mono))
        milestones.note(scripted.finished(), end)
        file.write(end + b"\n")
    milestones.close()


def open_record(name: str) -> dict[str, Any]:
    """Read a run as a dashboard does, and report the time; runs in a child process."""
    import psutil

    from gputrain.tui.state.run_store import RunStore

    before = psutil.Process().memory_info().rss
    began, cpu = time.perf_counter(), time.process_time()
    attachment, store, count = launch.attach(run_directory.find(name), outlined=True), RunStore(), 0
    while not attachment.ended:
        found = attachment.read()
        store.apply_all(found, attachment.sparse_until)
        count += len(found)
    now = store.snapshot()
    return {
        "open_seconds": time.perf_counter() - began,
        "open_cpu_seconds": time.process_time() - cpu,
        "events_read": count,
        "newest_event": now.seq,
        "validations": len(now.validations),
        "rss_growth_mib": (psutil.Process().memory_info().rss - before) / (1 << 20),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--open", metavar="RUN", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(open_record(options.open)))
        return
    with tempfile.TemporaryDirectory() as home:
        os.environ["GPUTRAIN_HOME"] = home
        run = run_directory.create("long")
        write(run, options.events)
        size = run.events.stat().st_size
        done = subprocess.run([sys.executable, __file__, "--open", run.id], capture_output=True, text=True, check=True)
        shown = cost([sys.executable, "-m", "gputrain.tui.cli", "tail", run.id], {}, b"GiB", 2.0, 2.0)
    figures = {"events": options.events, "gib": size / (1 << 30), **json.loads(done.stdout)}
    figures |= {f"dashboard_{key}": value for key, value in dataclasses.asdict(shown).items() if key != "reason"}
    if options.json:
        print(harness.report(figures, {}, {"versions": harness.versions(("gputrain-tui", "msgspec"))}))
    else:
        print("\n".join(f"{key}: {value:.6g}" for key, value in figures.items() if value is not None))


if __name__ == "__main__":
    main()
