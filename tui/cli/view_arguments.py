"""Arguments of the commands that change no run: monitor, export, serve, alerts, completions."""

from __future__ import annotations

from gputrain.tui.cli.argument_types import address, count, gpu_index, port, process_id, sample_seconds, size
from gputrain.tui.cli.shared_arguments import RUN, Commands, add_low_bandwidth
from gputrain.tui.cli.shell_completion import SHELLS


def add_view_commands(commands: Commands) -> None:
    """Add all of them."""
    _add_monitor(commands)
    _add_export(commands)
    _add_serve(commands)
    _add_alerts(commands)
    _add_completions(commands)


def _add_monitor(commands: Commands) -> None:
    what = "Monitor this machine without a run: GPUs, processes, CPU, RAM, disks."
    monitor = commands.add_parser("monitor", help="monitor this machine without a run", description=what)
    monitor.add_argument("--log", metavar="FILE.csv", help="append each sample to FILE.csv")
    monitor.add_argument(
        "--interval", type=sample_seconds, default=1.0, metavar="S", help="seconds between samples (default 1)"
    )
    monitor.add_argument(
        "--gpu",
        type=gpu_index,
        action="append",
        metavar="I",
        help="show only GPU I; repeat the option for several GPUs",
    )
    monitor.add_argument(
        "--pid", type=process_id, metavar="PID", help="mark process PID and its children, and exit when it ends"
    )
    monitor.add_argument("-n", "--lines", type=count, metavar="N", help="exit after N samples (with --plain or --json)")
    monitor.add_argument(
        "--prometheus",
        type=address,
        metavar="[ADDRESS]:PORT",
        help="serve the samples, and this user's live runs, to Prometheus at http://ADDRESS:PORT/metrics (default "
        "address 127.0.0.1; others need a bearer token in GPUTRAIN_PROMETHEUS_TOKEN)",
    )
    add_low_bandwidth(monitor)
    output = monitor.add_mutually_exclusive_group()
    output.add_argument("--plain", action="store_true", help="print CSV rows instead of the screen")
    output.add_argument("--json", action="store_true", help="print one JSON object per sample")


def _add_export(commands: Commands) -> None:
    what = (
        "Write one of these to FILE: the curves of a run (.csv; .png, .svg and .pdf with matplotlib), its dashboard as "
        "an image (.svg with --view), or its model (.onnx: takes pixels, normalization is part of the graph). The "
        "exported model is compared with the original on validation samples."
    )
    export = commands.add_parser("export", help="write a run's curves, dashboard or model to a file", description=what)
    export.add_argument("run", metavar="RUN", help=RUN)
    export.add_argument("file", metavar="FILE", help="output file; its suffix selects what is written")
    export.add_argument(
        "--view",
        type=size,
        nargs="?",
        const=(200, 50),
        metavar="SIZE",
        help="write the dashboard as .svg, in a terminal of SIZE (default 200x50)",
    )
    export.add_argument(
        "--int8", action="store_true", help="quantize the exported model to 8 bits, calibrated on training images"
    )
    export.add_argument(
        "--from",
        dest="wanted",
        default="best",
        metavar="WHERE",
        help="checkpoint to export: best (default), last, or a step number",
    )


def _add_serve(commands: Commands) -> None:
    what = "Serve the dashboard of RUN to a browser, or the launcher without RUN. Each visitor gets a separate view."
    serve = commands.add_parser("serve", help="show the screens in a browser", description=what)
    serve.add_argument("run", nargs="?", metavar="RUN", help=RUN)
    serve.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default 127.0.0.1)"
    )
    serve.add_argument("--port", type=port, default=8700, metavar="PORT", help="port to listen on (default 8700)")


def _add_completions(commands: Commands) -> None:
    completions = commands.add_parser(
        "completions",
        help="print what makes the tab key complete commands, settings and names of runs",
        description="Print code for a shell that completes commands, options, settings, recipes, profiles and names of "
        'runs. In bash and zsh, add to ~/.bashrc or ~/.zshrc: eval "$(gputrain-tui completions bash)" (or zsh). In '
        "fish: gputrain-tui completions fish > ~/.config/fish/completions/gputrain-tui.fish",
    )
    completions.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")


def _add_alerts(commands: Commands) -> None:
    alerts = commands.add_parser(
        "alerts",
        help="show where alerts go, or send a test",
        description="Alerts tell you outside of the terminal that a run has finished, failed, stalled, lost a GPU or "
        "become slow: by a command, webhooks or mail, as alerts.yaml in the configuration folder says.",
    )
    alerts.add_argument(
        "what",
        nargs="?",
        default="show",
        choices=("show", "test"),
        metavar="show|test",
        help="show: print the settings without secrets (default); test: send an alert to every target",
    )
