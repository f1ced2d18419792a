"""Owns a run without training that reports 10 events and a hardware sample per second, as a real supervisor does.

``python live_run.py GPUS PAST_SECONDS`` prints the run's name and runs until its input ends.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.tui import scripted

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import AnyEvent, encode, stamp
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.event_channel import Server
from gputrain.engine.runs.event_log import RecordWriter
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.runs.status_file import StatusFile


def _write_past(run: RunDir, gpus: int, seconds: int) -> None:
    """A record of `seconds` of training up to now."""
    wall, mono = time.time() - seconds, time.monotonic() - seconds
    past: list[tuple[AnyEvent, float]] = [(event, 0.0) for event in scripted.start(gpus)]
    past += scripted.training(seconds, gpus)
    with run.events.open("wb") as file:
        later = 0.0
        for number, (event, after) in enumerate(past, 1):
            later += after
            file.write(encode(stamp(event, number, wall + later, mono + later)) + b"\n")


def _wait_for_end(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def main(gpus: int, past: int) -> None:
    """Serve until the input ends."""
    run = run_directory.create("live")
    _write_past(run, gpus, past)
    assert run.own()
    server = Server(run, lambda _command: None)
    status = StatusFile(run, RunConfig(), str(server.path))
    record = RecordWriter(run.events)
    status.write()
    over = threading.Event()
    threading.Thread(target=_wait_for_end, args=(over,), daemon=True).start()
    print(run.id, flush=True)
    due = time.monotonic()
    for event, after in scripted.training(10**6, gpus, first=past):
        due += after
        if over.wait(max(0.0, due - time.monotonic())):
            break
        told, line = record.append(event)
        server.broadcast.put(told.seq, line)
        status.learn(told)
        status.write_if_due()
    server.close()
    record.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
