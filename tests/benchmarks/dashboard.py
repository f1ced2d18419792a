"""Cost of dashboard and monitor, compared with other monitors: ``python tests/benchmarks/dashboard.py [--json]``.

Each program runs for some seconds in its own terminal of 200×50 with one refresh per second, on the same scripted GPUs
(a stand-in for NVIDIA's library, loaded by the real bindings). The dashboard shows a run with 10 events per second.
Then a real training on the CPU runs with 0, 1 and 3 dashboards attached.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import harness
import slowdown
from fakes.images import dark_and_light
from fakes.nvml import NvmlStandIn, build
from slowdown import NOBODY, ONE, THREE, Slowdown
from terminals import Cost, cost

HERE = Path(__file__).parent
PACKAGES = ("gputrain-tui", "textual", "rich", "nvitop", "nvidia-ml-py", "psutil")
OURS = [sys.executable, "-m", "gputrain.tui.cli"]
PEERS = ("nvitop", "bare_textual", "nvtop", "btop", "htop", "glances")
ON_GPUS = ("nvitop", "nvtop", "glances")
"""Those that show GPUs, and are measured with 1 and 8."""
COUNTS = (0, 1, 8)
_PER_CLASS = 3000
"""Images of the training: epochs of some seconds, with about ten events per second, as in real runs."""
MARK = b"GiB"
"""Memory is among the first figures of each of them."""
RATIOS = {
    "cpu": "cpu_percent",
    "first_paint": "first_paint_ms",
    "first_paint_cpu": "start_cpu_ms",
    "bytes": "bytes_per_s",
    "rss": "rss_mib",
}


@contextlib.contextmanager
def live_run(gpus: int, past: int) -> Iterator[str]:
    """Start a run; yields its name."""
    command = [sys.executable, str(HERE / "live_run.py"), str(gpus), str(past)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        if not name:
            raise RuntimeError("the scripted run did not start")
        yield name
        process.stdin.close()


def peer(name: str) -> Sequence[str]:
    """The command of another monitor, with an interval of one second where it has such an option."""
    commands: dict[str, Sequence[str]] = {
        "nvitop": (sys.executable, "-m", "nvitop", "--monitor", "full", "--interval", "1"),
        "bare_textual": (sys.executable, str(HERE / "bare_textual.py")),
        "nvtop": ("nvtop", "-d", "10"),
        "btop": ("btop",),
        "htop": ("htop", "-d", "10"),
        "glances": (sys.executable, "-m", "glances", "--time", "1"),
    }
    return commands[name]


def compare(options: argparse.Namespace, stand_in: NvmlStandIn) -> dict[str, Cost]:
    """The costs by program and number of GPUs."""
    costs: dict[str, Cost] = {}

    def take(key: str, command: Sequence[str], mark: bytes) -> None:
        costs[key] = cost(command, stand_in.env, mark, options.settle, options.seconds)
        print(f"  {key}: {costs[key]}", file=sys.stderr)

    for gpus in options.gpus:
        stand_in.gpus(gpus)
        with live_run(gpus, options.past) as run:
            take(f"dashboard_{gpus}gpu", [*OURS, "tail", run], MARK)
            take(f"dashboard_{gpus}gpu_frugal", [*OURS, "tail", run, "--low-bandwidth"], MARK)
        take(f"monitor_{gpus}gpu", [*OURS, "monitor"], MARK)
        for name in options.peers:
            if name in ON_GPUS and gpus:
                take(f"{name}_{gpus}gpu", peer(name), MARK)
    for name in options.peers:
        if name not in ON_GPUS:
            take(name, peer(name), b"")
    return costs


def trained(options: argparse.Namespace, folder: Path, stand_in: NvmlStandIn) -> Slowdown:
    """The slowdown of a training whose supervisor samples 8 GPUs."""
    stand_in.gpus(8)
    os.environ.update(stand_in.env)
    others = {name: peer(name) for name in ("nvitop", "bare_textual") if name in options.peers}
    return slowdown.measure(dark_and_light(folder / "images", _PER_CLASS), options.rounds, options.turn, {}, others)


def figures(costs: Mapping[str, Cost], slowed: Slowdown) -> dict[str, Any]:
    """The main figures first, then all."""
    ours = costs.get("dashboard_8gpu") or Cost()
    percent, spread = slowed.percent(ONE)
    by_cpu = slowed.percent(ONE, by_cpu=True)
    return {
        "cpu_percent_8gpu": ours.cpu_percent,
        "first_paint_ms": ours.first_paint_ms,
        "bytes_per_s": ours.bytes_per_s,
        "bytes_per_s_low_bandwidth": (costs.get("dashboard_8gpu_frugal") or Cost()).bytes_per_s,
        "rss_mib": ours.rss_mib,
        "supervisor_cpu_percent": slowed.supervisor(NOBODY),
        "supervisor_cpu_percent_3_dashboards": slowed.supervisor(THREE),
        "supervisor_rss_mib": slowed.supervisor_rss_mib,
        "training_slowdown_percent": percent,
        "training_slowdown_spread": spread,
        "training_slowdown_percent_3_dashboards": slowed.percent(THREE)[0],
        "training_slowdown_percent_by_trainer_cpu": by_cpu[0],
        "training_slowdown_spread_by_trainer_cpu": by_cpu[1],
        "training_slowdown_percent_nvitop": slowed.percent("nvitop")[0],
        "training_slowdown_percent_bare_textual": slowed.percent("bare_textual")[0],
        "programs": {key: dataclasses.asdict(value) for key, value in costs.items()},
    }


def ratios(costs: Mapping[str, Cost], slowed: Slowdown) -> tuple[dict[str, float | None], dict[str, str]]:
    """Ours over theirs, below 1 where ours is cheaper (of the training's rate above 1); and reasons for those that are
    missing."""
    found: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    pairs = [
        (ours, theirs)
        for ours in ("dashboard", "monitor")
        for theirs in ("nvitop_8gpu", "bare_textual", "nvtop_8gpu", "btop", "htop", "glances_8gpu")
    ]
    for ours, theirs in pairs:
        one, other = costs.get(f"{ours}_8gpu"), costs.get(theirs)
        for name, field in RATIOS.items():
            key = f"{ours}_{name}_vs_{theirs.removesuffix('_8gpu')}"
            first = getattr(one, field) if one is not None else None
            second = getattr(other, field) if other is not None else None
            found[key] = first / second if first is not None and second else None
            if found[key] is None:
                reasons[key] = next(
                    (part.reason for part in (one, other) if part is not None and part.reason), "not run"
                )
    for theirs, key in (("nvitop", "nvitop_8gpu"), ("bare_textual", "bare_textual")):
        other_cost, supervisor = (costs.get(key) or Cost()).cpu_percent, slowed.supervisor(NOBODY)
        beside_ours, beside_theirs = slowed.percent(ONE)[0], slowed.percent(theirs)[0]
        cpu = rate = None
        if supervisor is not None and other_cost:
            cpu = supervisor / other_cost
        if beside_ours is not None and beside_theirs is not None:
            rate = (100 - beside_ours) / (100 - beside_theirs)
        for name, value in ((f"supervisor_cpu_vs_{theirs}", cpu), (f"training_rate_vs_{theirs}", rate)):
            found[name] = value
            if value is None:
                reasons[name] = "not run"
    return found, reasons


def table(costs: Mapping[str, Cost], found: Mapping[str, Any]) -> str:
    """The results as a text table."""

    def cell(value: float | None, digits: int) -> str:
        return f"{value:.{digits}f}" if value is not None else "–"

    rows = [f"{'':24} {'CPU %':>7} {'RSS MiB':>8} {'B/s':>8} {'paint ms':>9} {'figure ms':>10} {'start CPU ms':>13}"]
    for key, one in costs.items():
        if one.reason:
            rows.append(f"{key:24} {one.reason}")
            continue
        cells = f"{cell(one.cpu_percent, 2):>7} {cell(one.rss_mib, 0):>8} {cell(one.bytes_per_s, 0):>8}"
        times = f"{cell(one.first_paint_ms, 0):>9} {cell(one.first_figure_ms, 0):>10} {cell(one.start_cpu_ms, 0):>13}"
        rows.append(f"{key:24} {cells} {times}")
    rows += [f"{key}: {cell(value, 2)}" for key, value in found.items() if "supervisor" in key or "slowdown" in key]
    return "\n".join(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--settle", type=float, default=5.0, help="seconds before each measurement")
    parser.add_argument("--past", type=int, default=600, help="seconds of history that the dashboard opens")
    parser.add_argument("--rounds", type=int, default=25, help="of six turns of the training; 0: no training")
    parser.add_argument("--turn", type=float, default=2.0, help="seconds of training with 0, 1 or 3 dashboards")
    parser.add_argument("--gpus", type=int, nargs="+", default=list(COUNTS), choices=COUNTS)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    options = parser.parse_args()
    harness.keep_compiled_sources()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for variable in ("GPUTRAIN_HOME", "GPUTRAIN_CACHE", "GPUTRAIN_CONFIG", "XDG_CONFIG_HOME"):
            os.environ[variable] = str(folder / variable.lower())
        stand_in = NvmlStandIn(build(folder), folder / "script")
        costs = compare(options, stand_in)
        slowed = trained(options, folder, stand_in) if options.rounds else Slowdown()
    all_figures = figures(costs, slowed)
    found, reasons = ratios(costs, slowed)
    if options.json:
        told = {"reasons": reasons, "versions": harness.versions(PACKAGES), "machine": {"cores": os.cpu_count()}}
        print(harness.report(all_figures, found, told))
    else:
        print(table(costs, all_figures))


if __name__ == "__main__":
    main()
