"""``gputrain-tui monitor``: this machine's panels without a run, or its samples as CSV or JSON lines."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import HardwareSample, Notice
from gputrain.engine.monitor.csv_log import Columns, CsvLog
from gputrain.engine.monitor.gpus.gpu_threads import OPEN_PATIENCE, pending
from gputrain.engine.monitor.sample_rows import flat_row, sample_as_json
from gputrain.tui.actions.monitor_source import MonitorSource, watched_process
from gputrain.tui.commands.output import has_screen
from gputrain.tui.terminal import gc_pause

_GPU_PATIENCE = 15.0
"""Seconds that rows wait for a driver that has to wake its GPUs: a log should have their columns from the start."""


def run(options: argparse.Namespace) -> int:
    """Monitor until the person leaves, a signal comes, the samples asked for are taken or the process has ended."""
    process = watched_process(options.pid) if options.pid is not None else None
    log = CsvLog(Path(options.log)) if options.log else None
    gpus = frozenset(options.gpu) if options.gpu else None
    on_screen = has_screen(options)
    patience = OPEN_PATIENCE if on_screen else _GPU_PATIENCE
    source = MonitorSource(options.interval, gpus, process, log, patience)
    try:
        if on_screen:
            about = f", to {plain(options.log, 80)}" if options.log else ""
            return _screen(source, process.title if process else "", options.interval, about, options.low_bandwidth)
        return _lines(source, options)
    finally:
        source.close()


def _screen(source: MonitorSource, subject: str, interval: float, about: str, low_bandwidth: bool) -> int:
    gc_pause.pause_gc()
    from gputrain.tui.app import GpuTrainApp
    from gputrain.tui.screens.dashboard.monitor import MonitorScreen
    from gputrain.tui.state.reader_thread import FRAME_SECONDS, LOW_BANDWIDTH_FRAME_SECONDS

    seconds = LOW_BANDWIDTH_FRAME_SECONDS if low_bandwidth else FRAME_SECONDS
    app = GpuTrainApp(
        first=lambda: MonitorScreen(source, subject, interval, source.set_interval, about, seconds),
        low_bandwidth=low_bandwidth,
    )
    code = app.run()
    return code if code is not None else EXIT_FAILED


def _lines(source: MonitorSource, options: argparse.Namespace) -> int:
    """Rows to stdout; silent where only a log was asked for."""
    show = _printer(options)
    left = options.lines
    first = True
    with _until_signal() as stop:
        while not (stop.is_set() or source.abandoned or left == 0):
            for event in source.read(timeout=0.2):
                if isinstance(event, Notice):
                    print(f"gputrain-tui: {plain(event.text, 500)}", file=sys.stderr)
                    return EXIT_FAILED
                if not isinstance(event, HardwareSample):
                    continue
                if first:
                    # Its rates are not known yet; what is wrong with the GPUs that were asked for is.
                    first = False
                    _check_gpus(event, options.gpu)
                elif left is None or left > 0:
                    show(event)
                    left = left - 1 if left is not None else None
    return EXIT_FINISHED


def _check_gpus(sample: HardwareSample, asked: list[int] | None) -> None:
    missing = sorted(set(asked or ()) - {gpu.index for gpu in sample.gpus})
    if missing and pending(sample.gpu_error):
        print(f"gputrain-tui: {plain(sample.gpu_error, 200)}; GPU {missing[0]} is told when it does", file=sys.stderr)
    elif missing:
        why = sample.gpu_error or f"the driver has no GPU {missing[0]}"
        raise BadInput(f"--gpu {missing[0]}: {plain(why, 200)}; see: gputrain-tui monitor -n 1")


def _printer(options: argparse.Namespace) -> Callable[[HardwareSample], None]:
    if options.json:
        return lambda sample: print(msgspec.json.encode(sample_as_json(sample)).decode(), flush=True)
    if options.log and not options.plain:
        return lambda _sample: None
    columns = Columns()

    def show(sample: HardwareSample) -> None:
        row = flat_row(sample)
        # What was printed can't be widened: a new header stands where columns are added.
        header = columns.header if columns.grow(row) else ""
        print(header + columns.line(row), end="", flush=True)

    return show


@contextmanager
def _until_signal() -> Iterator[threading.Event]:
    """Set by Ctrl-C, and by the SIGTERM with which batch systems end a job: both are an ordinary end."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
