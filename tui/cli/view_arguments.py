"""Arguments of the commands that show something without changing any run: monitor, export, serve."""

from __future__ import annotations

from gputrain.tui.cli.argument_types import count, port, sample_seconds, size
from gputrain.tui.cli.shared_arguments import RUN, Commands, add_low_bandwidth


def add_view_commands(commands: Commands) -> None:
    """All of them."""
    _add_monitor(commands)
    _add_export(commands)
    _add_serve(commands)


def _add_monitor(commands: Commands) -> None:
    what = "Watch this machine without a run: GPUs, processes, CPU, RAM, disks."
    monitor = commands.add_parser("monitor", help="watch this machine without a run", description=what)
    monitor.add_argument("--log", metavar="FILE.csv", help="append each sample to FILE.csv")
    monitor.add_argument(
        "--interval", type=sample_seconds, default=1.0, metavar="S", help="seconds between samples (1)"
    )
    monitor.add_argument("--gpu", type=int, action="append", metavar="I", help="only GPU I; may be given again")
    monitor.add_argument(
        "--pid", type=int, metavar="PID", help="mark the processes of PID, and leave when it has ended"
    )
    monitor.add_argument("-n", "--lines", type=count, metavar="N", help="leave after N samples (plain and JSON)")
    add_low_bandwidth(monitor)
    output = monitor.add_mutually_exclusive_group()
    output.add_argument("--plain", action="store_true", help="CSV rows, also in a terminal")
    output.add_argument("--json", action="store_true", help="JSON lines: a sample each")


def _add_export(commands: Commands) -> None:
    what = (
        "Write a run's curves to FILE (.csv; .png, .svg and .pdf with matplotlib), its dashboard as a picture, or its "
        "network (.onnx; pixels in, normalisation is in the graph), which is tried beside the original."
    )
    export = commands.add_parser(
        "export", help="write a run's curves, dashboard or network to a file", description=what
    )
    export.add_argument("run", metavar="RUN", help=RUN)
    export.add_argument("file", metavar="FILE", help="its ending says what is written")
    export.add_argument(
        "--view", type=size, nargs="?", const=(200, 50), metavar="SIZE", help="the dashboard as .svg (200x50)"
    )
    export.add_argument(
        "--int8", action="store_true", help="the network in 8-bit numbers, by ranges of training images"
    )
    export.add_argument(
        "--from", dest="wanted", default="best", metavar="WHERE", help="the network of: best (default), last, or a step"
    )


def _add_serve(commands: Commands) -> None:
    what = "Show a run's dashboard in a browser, or the launcher where no run is named. Each visitor gets a view."
    serve = commands.add_parser("serve", help="the same screens in a browser", description=what)
    serve.add_argument("run", nargs="?", metavar="RUN", help=RUN)
    serve.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=port, default=8700, metavar="PORT", help="port to listen on (8700)")
