"""What the records of the ranks cost the training processes: ``python tests/benchmarks/rank_records.py [--json]``.

Rank 0's end of the link between launched ranks is real, with its store, heartbeats and event queue; another process
sends it what so many ranks send. A further rank with its own real link sends a window of steps five times a second. The
figures are CPU time of all threads for the records, as a share of one core, in which the training loop would run:
``rank_0`` of rank 0's process, ``rank_0_store`` of it that of the store's own threads (C++, without the interpreter's
lock), ``rank`` of any other rank.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import msgspec
from helpers.tui.scripted import steps

from gputrain.engine import events
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.rank_board import PLACES, RankReport
from gputrain.engine.processes.rank_environment import LOOPBACK, MeetingPoint
from gputrain.engine.processes.rank_events import RankEvents
from gputrain.engine.processes.rank_processes import RankReporter
from gputrain.engine.training.distributed.process_group import open_store
from gputrain.engine.training.distributed.rank_link import RankLink, Start

_REPORT_SECONDS = 2.0
"""Time between two records of a rank."""
_WINDOW_SECONDS = 0.2
_TICKS = 20
"""A second of the other ranks is sent in so many parts."""


def thread_seconds() -> dict[int, float]:
    """CPU time of each thread of this process, in seconds, by its id."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
        except (OSError, ValueError):
            continue
    return found


def spent(before: dict[int, float], after: dict[int, float]) -> tuple[float, float]:
    """CPU seconds in between of all threads but the main one, and of those that are not Python's."""
    python = {thread.native_id for thread in threading.enumerate()}
    gone = {number: seconds - before.get(number, 0.0) for number, seconds in after.items() if number != os.getpid()}
    return sum(gone.values()), sum(seconds for number, seconds in gone.items() if number not in python)


def lead(count: int, seconds: float) -> None:
    """Rank 0: prints its port; measures once it gets a line, and prints its figures."""
    context = multiprocessing.get_context("spawn")
    outbox: Any = context.Queue(4096)
    reader = context.Process(target=read_all, args=(outbox,), daemon=True)
    reader.start()
    listener = socket.create_server((LOOPBACK, 0), backlog=128)
    port = listener.getsockname()[1]
    link = RankLink(MeetingPoint(LOOPBACK, port, listener.detach()), 0, count, lambda _who: None)
    taken = 0
    reporter = EventReporter(outbox)

    def forward(records: list[bytes]) -> None:
        nonlocal taken
        taken += len(records)
        reporter.forward(records)

    with tempfile.TemporaryDirectory() as folder:
        link.lead(Start(folder, msgspec.Raw(b"{}")), RankEvents(reporter).take_encoded, forward)
        print(port, flush=True)
        sys.stdin.readline()
        before, began, first = thread_seconds(), time.monotonic(), taken
        time.sleep(seconds)
        whole, store = spent(before, thread_seconds())
        elapsed = time.monotonic() - began
        print(
            json.dumps(
                {
                    "rank_0_percent": whole / elapsed * 100,
                    "rank_0_store_percent": store / elapsed * 100,
                    "events_per_s": (taken - first) / elapsed,
                }
            ),
            flush=True,
        )
        sys.stdin.read()
        # It would keep the pipes of whoever runs this open.
        reader.kill()
        reader.join()
        os._exit(0)


def read_all(outbox: Any) -> None:
    """As the supervisor: take what comes."""
    while True:
        outbox.get()


def send_as_others(port: int, count: int) -> None:
    """What ranks 2 and up send, at their times, until this process is killed."""
    meeting = MeetingPoint(LOOPBACK, port)
    clients = [open_store(meeting, 1, count, client=True) for _ in range(4)]
    places = tuple(PLACES)
    raw = events.encode(_record(7)).decode()
    due, number = time.monotonic(), 0
    while True:
        number += 1
        for rank in range(2 + number % _TICKS, count, _TICKS):
            report = RankReport(rank, f"node-{rank // 8:02d}", number, places[rank % len(places)], 0.01)
            second = number // _TICKS
            head = f"{second} {second // round(_REPORT_SECONDS)} {msgspec.json.encode(report).decode()}"
            clients[rank % len(clients)].set(f"beat/{rank}", "\n".join([head, raw, raw, raw]))
        due += 1 / _TICKS
        time.sleep(max(0.0, due - time.monotonic()))


def _record(rank: int) -> events.AnyEvent:
    return events.RankSteps(
        rank=rank,
        window_steps=10,
        window_seconds=2.01,
        data_wait=0.11234,
        compute=1.61234,
        exchange=0.21234,
        host="node-07",
        gpu=rank % 8,
    )


def follow(port: int, count: int, seconds: float) -> None:
    """Rank 1, with its heartbeat and its records; prints what they cost once it got a line."""
    link = RankLink(MeetingPoint(LOOPBACK, port), 1, count, lambda _who: None)
    link.follow()
    print("ready", flush=True)
    sys.stdin.readline()
    reporter = RankReporter(link.send, 1, "node-00", 1, link.record)
    window = msgspec.structs.replace(steps(1), window_seconds=_WINDOW_SECONDS, exchange=0.01)
    in_loop, before, began = 0.0, thread_seconds(), time.monotonic()
    while time.monotonic() - began < seconds:
        at = time.thread_time()
        for place in PLACES:
            link.board.enter(place)
        reporter.steps(window)
        in_loop += time.thread_time() - at
        time.sleep(_WINDOW_SECONDS)
    beside, _ = spent(before, thread_seconds())
    print(json.dumps({"rank_percent": (in_loop + beside) / (time.monotonic() - began) * 100}), flush=True)
    os._exit(0)


def _started(command: list[str]) -> Any:
    """A process with pipes for its input and output."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def measure(count: int, settle: float, seconds: float) -> dict[str, float]:
    """The figures, in percent of a core."""
    mode = [sys.executable, __file__, "--ranks", str(count), "--seconds", str(seconds)]
    found: dict[str, float] = {}
    with _started([*mode, "--as", "lead"]) as leader:
        at = ["--port", leader.stdout.readline().strip()]
        others = subprocess.Popen([*mode, "--as", "others", *at])
        try:
            with _started([*mode, "--as", "rank", *at]) as rank:
                rank.stdout.readline()
                time.sleep(settle)
                for part in (leader, rank):
                    part.stdin.write("measure\n")
                    part.stdin.flush()
                for part in (leader, rank):
                    found |= json.loads(part.stdout.readline())
        finally:
            others.kill()
            others.wait()
            leader.stdin.close()
    return {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=512)
    parser.add_argument("--settle", type=float, default=8.0, help="seconds before measuring")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds to measure")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--as", dest="part", choices=["lead", "others", "rank"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    match options.part:
        case "lead":
            lead(options.ranks, options.seconds)
        case "others":
            send_as_others(options.port, options.ranks)
        case "rank":
            follow(options.port, options.ranks, options.seconds)
    found = measure(options.ranks, options.settle, options.seconds)
    print(json.dumps({"figures": {str(options.ranks): found}}) if options.json else found)


if __name__ == "__main__":
    main()
