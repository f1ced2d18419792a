"""``gputrain-tui monitor``: monitors this machine without a run, on a screen or as CSV or JSON lines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gputrain.engine.common.errors import EXIT_FINISHED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import HardwareSample, Notice
from gputrain.engine.monitor.csv_writer import Columns, CsvLog
from gputrain.engine.monitor.gpus.gpu_threads import OPEN_PATIENCE, pending
from gputrain.engine.monitor.sample_columns import flat_row, sample_as_json
from gputrain.tui.actions.monitor_source import MonitorSource, watched_process
from gputrain.tui.commands.command_messages import fail, has_screen
from gputrain.tui.commands.show_app import show_app
from gputrain.tui.commands.until_signal import until_signal

if TYPE_CHECKING:
    from gputrain.tui.app import GpuTrainApp

_GPU_TIMEOUT = 15.0
"""Seconds to wait for a driver that first wakes its GPUs, so that the first row already has their columns."""


def run(options: argparse.Namespace) -> int:
    """Monitor until the user quits, a signal arrives, ``-n`` samples were taken or the watched process ended."""
    process = watched_process(options.pid) if options.pid is not None else None
    log = CsvLog(Path(options.log)) if options.log else None
    gpus = frozenset(options.gpu) if options.gpu else None
    on_screen = has_screen(options) and options.prometheus is None
    patience = OPEN_PATIENCE if on_screen else _GPU_TIMEOUT
    source = MonitorSource(options.interval, gpus, process, log, patience)
    try:
        if on_screen:
            about = f", to {plain(options.log, 80)}" if options.log else ""
            return _screen(source, process.title if process else "", options.interval, about, options.low_bandwidth)
        if options.prometheus is not None:
            from gputrain.tui.commands.export_metrics import export_metrics

            return export_metrics(source, options.prometheus)
        return _lines(source, options)
    finally:
        source.close()


def _screen(source: MonitorSource, subject: str, interval: float, about: str, low_bandwidth: bool) -> int:
    def make(app: type[GpuTrainApp]) -> GpuTrainApp:
        from gputrain.tui.screens.dashboard.monitor_screen import MonitorScreen
        from gputrain.tui.state.reader_thread import FRAME_SECONDS, LOW_BANDWIDTH_FRAME_SECONDS

        seconds = LOW_BANDWIDTH_FRAME_SECONDS if low_bandwidth else FRAME_SECONDS
        return app(
            first=lambda: MonitorScreen(source, subject, interval, source.set_interval, about, seconds),
            low_bandwidth=low_bandwidth,
        )

    return show_app(make)


def _lines(source: MonitorSource, options: argparse.Namespace) -> int:
    """Print rows to stdout; print nothing if only ``--log`` was given."""
    show = _printer(options)
    left = options.lines
    first = True
    with until_signal() as stop:
        while not (stop.is_set() or source.abandoned or left == 0):
            for event in source.read(timeout=0.2):
                if isinstance(event, Notice):
                    return fail(event.text)
                if not isinstance(event, HardwareSample):
                    continue
                if first:
                    # The first sample has no rates yet, but it shows whether the requested GPUs exist.
                    first = False
                    _check_gpus(event, options.gpu)
                elif left is None or left > 0:
                    show(event)
                    left = left - 1 if left is not None else None
    return EXIT_FINISHED


def _check_gpus(sample: HardwareSample, wanted: list[int] | None) -> None:
    missing = sorted(set(wanted or ()) - {gpu.index for gpu in sample.gpus})
    if missing and pending(sample.gpu_error):
        print(
            f"gputrain-tui: {plain(sample.gpu_error, 200)}; GPU {missing[0]} is added once the driver answers",
            file=sys.stderr,
        )
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
        # Printed rows cannot get new columns: print a new header when columns are added.
        header = columns.header if columns.grow(row) else ""
        print(header + columns.line(row), end="", flush=True)

    return show
