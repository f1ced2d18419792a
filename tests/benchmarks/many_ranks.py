"""Cost of many ranks for supervisor and dashboard: ``python tests/benchmarks/many_ranks.py [--ranks 512] [--json]``.

A process owns a run and replays the events of so many ranks, one a second for each: it decodes them as those of a
trainer, records them, offers them to dashboards, and diagnoses, with the parts of a real supervisor. A dashboard of
200×50 follows it in a terminal of its own, with the panel of ranks. Figures are percent of a core; the queue from the
trainer and the samples of the machine are not in them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
from helpers.tui.rank_runs import RankRun
from terminals import cost

from gputrain.engine import events
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.diagnosis.advisor import Advisor
from gputrain.engine.diagnosis.autotune import Autotune
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.event_channel import Server
from gputrain.engine.runs.event_log import RecordWriter
from gputrain.engine.runs.status_file import StatusFile

_REPEATED = 10
"""Seconds of encoded events that are replayed again and again."""
_FLUSHES = 10
"""Times a second that the record is flushed, as a supervisor does."""


def encoded(run: RankRun) -> list[list[bytes]]:
    """The events of `_REPEATED` seconds as a trainer sends them."""
    return [[events.encode(event) for event in run.second(number)] for number in range(_REPEATED)]


def serve(ranks: int) -> None:
    """Own a run until the input ends; prints its name, and at the end its figures as JSON."""
    scripted = RankRun(ranks, slow={ranks - 1: 0.1})
    seconds = encoded(scripted)
    run = run_directory.create("ranks")
    assert run.own()
    server, record = Server(run, lambda _command: None), RecordWriter(run.events)
    status = StatusFile(run, RunConfig(), str(server.path))
    status.write()
    advisor, autotune, over = Advisor(), Autotune(), threading.Event()

    def write(event: events.AnyEvent) -> None:
        told, line = record.append(event)
        server.broadcast.put(told.seq, line)
        status.learn(told)
        advisor.feed(told)
        autotune.feed(told)

    for event in scripted.start():
        write(event)
    record.flush()

    def wait_for_end() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    print(run.id, flush=True)
    began, cpu, done, size = time.monotonic(), time.process_time(), 0, run.events.stat().st_size
    for due, part in _parts(seconds):
        if over.wait(max(0.0, began + due - time.monotonic())):
            break
        for raw in part:
            told = events.decode(raw)
            assert told is not None
            write(told)
            done += 1
        record.flush()
        status.write_if_due()
        advisor.hints()
    elapsed = time.monotonic() - began
    print(
        json.dumps(
            {
                "supervisor_cpu_percent": (time.process_time() - cpu) / elapsed * 100,
                "events_per_s": done / elapsed,
                "record_bytes_per_s": (run.events.stat().st_size - size) / elapsed,
            }
        ),
        flush=True,
    )
    server.close()
    record.close()


def _parts(seconds: list[list[bytes]]) -> Iterator[tuple[float, list[bytes]]]:
    """The events of each tenth of a second, with the time at which they are due."""
    number = 0
    while True:
        raw = seconds[number % len(seconds)]
        each = -(-len(raw) // _FLUSHES)
        for part in range(_FLUSHES):
            yield number + part / _FLUSHES, raw[part * each : (part + 1) * each]
        number += 1


def measure(ranks: int, settle: float, seconds: float) -> dict[str, Any]:
    """The figures for `ranks` ranks."""
    command = [sys.executable, __file__, "--serve", "--ranks", str(ranks)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdin is not None
        assert owner.stdout is not None
        name = owner.stdout.readline().strip()
        before = psutil.Process(owner.pid).cpu_times()
        shown = cost([sys.executable, "-m", "gputrain.tui.cli", "tail", name], {}, b"", settle, seconds)
        after = psutil.Process(owner.pid).cpu_times()
        owner.stdin.close()
        own: dict[str, float] = json.loads(owner.stdout.readline())
    return {
        "ranks": ranks,
        **own,
        "supervisor_user_share": (after.user - before.user) / max(1e-9, sum(after[:2]) - sum(before[:2])),
        "dashboard_cpu_percent": shown.cpu_percent,
        "dashboard_bytes_per_s": shown.bytes_per_s,
        "dashboard_rss_mib": shown.rss_mib,
        "reason": shown.reason,
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", default="1,64,512", help="numbers of ranks, separated by commas")
    parser.add_argument("--settle", type=float, default=8.0, help="seconds before measuring")
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds to measure")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(int(options.ranks))
        return
    with tempfile.TemporaryDirectory() as home:
        os.environ["GPUTRAIN_HOME"] = home
        rows = [measure(int(count), options.settle, options.seconds) for count in options.ranks.split(",")]
    if options.json:
        print(json.dumps({"figures": {str(row["ranks"]): row for row in rows}}))
        return
    for row in rows:
        print(
            f"{row['ranks']:>4} ranks, {row['events_per_s']:.0f} events/s, {row['record_bytes_per_s'] / 1e3:.0f} kB/s: "
            f"supervisor {row['supervisor_cpu_percent']:.1f} %, dashboard {row['dashboard_cpu_percent'] or 0:.1f} %, "
            f"{(row['dashboard_bytes_per_s'] or 0) / 1e3:.1f} kB/s to the terminal, "
            f"{row['dashboard_rss_mib'] or 0:.0f} MiB {row['reason']}"
        )


if __name__ == "__main__":
    main()
