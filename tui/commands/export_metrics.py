"""``gputrain-tui monitor --prometheus ADDRESS``: serves samples of this machine, and its live runs, to Prometheus."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gputrain.engine.common.errors import EXIT_FINISHED, BadInput
from gputrain.engine.events import HardwareSample, Notice
from gputrain.engine.runs.run_directory import list_runs
from gputrain.tui.actions.monitor_source import MonitorSource
from gputrain.tui.commands.command_messages import fail
from gputrain.tui.commands.until_signal import until_signal

if TYPE_CHECKING:
    from prometheus_client.core import Metric


def export_metrics(source: MonitorSource, address: tuple[str, int]) -> int:
    """Serve the newest sample until a signal arrives. Raises BadInput."""
    if find_spec("prometheus_client") is None:
        raise BadInput("--prometheus needs prometheus-client; install it with: pip install 'gputrain-tui[prometheus]'")
    from gputrain.tui.exporter.prometheus_metrics import machine_metrics, run_metrics
    from gputrain.tui.exporter.prometheus_server import serve

    newest: list[HardwareSample] = []

    def metrics() -> Iterable[Metric]:
        if newest:
            yield from machine_metrics(newest[-1])
        yield from run_metrics(list_runs())

    with until_signal() as stop, contextlib.ExitStack() as stack:
        server = serve(address, metrics)
        stack.callback(server.shutdown)
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        print(f"gputrain-tui: metrics at http://{host}:{server.server_port}/metrics", file=sys.stderr, flush=True)
        while not (stop.is_set() or source.abandoned):
            for event in source.read(timeout=0.2):
                if isinstance(event, Notice):
                    return fail(event.text)
                if isinstance(event, HardwareSample):
                    newest[:] = [event]
    return EXIT_FINISHED
