"""Make all pictures of the documentation anew.

    python docs/record_pictures.py               all; needs root, for namespaces and cgroups, a C compiler, five minutes
    python docs/record_pictures.py --scripted    only those of scripted runs, in seconds

The pictures of real runs (`RUNS`) show the built-in demo in training: by itself, with a GPU that falls off the bus, and
in a cgroup of half a core. GPUs come from a stand-in for NVIDIA's library, which the real binding loads; all else is
what the machine has. Each run has a process namespace of its own, so that no other program is in the picture.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fakes.nvml import NvmlStandIn, build
from helpers.tui import screenshots

from gputrain.engine.events import Steps, Validated
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.runs import run_directory
from gputrain.tui.app import GpuTrainApp

HERE = Path(__file__).parent
CGROUPS = Path("/sys/fs/cgroup")
TIMEOUT = 600.0
HOST = "atlas"


class Run(NamedTuple):
    """A real run and its picture."""

    place: str
    """Of the picture, below docs."""
    size: tuple[int, int]
    settings: tuple[str, ...] = ()
    gpus: int = 0
    seconds: float = 90.0
    """Of training that are seen."""
    before: Callable[[NvmlStandIn], None] = lambda _nvml: None
    """What happens shortly before the picture is taken."""
    limits: bool = False
    """In a cgroup of half a core and 2 GiB."""


RUNS = {
    "dashboard": Run("dashboard.svg", (140, 40)),
    "lost-gpu": Run(
        "screens/dashboard-lost-gpu.svg",
        (120, 35),
        gpus=2,
        seconds=40.0,
        before=lambda nvml: nvml.set({"gpu1.error": 15}),
    ),
    "half-a-core": Run(
        "screens/dashboard-half-a-core.svg", (120, 35), ("num_workers=2", "width=8"), seconds=60.0, limits=True
    ),
}


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """This process and its children in cgroups of half a core and 2 GiB. Raises OSError."""
    if (CGROUPS / "cgroup.controllers").exists():
        wanted = {CGROUPS: {"cpu.max": "50000 100000", "memory.max": str(2 << 30)}}
    else:
        wanted = {
            CGROUPS / "cpu": {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"},
            CGROUPS / "memory": {"memory.limit_in_bytes": str(2 << 30)},
        }
    groups = []
    try:
        for parent, values in wanted.items():
            group = parent / f"gputrain-picture-{os.getpid()}"
            group.mkdir()
            groups.append(group)
            for name, value in values.items():
                (group / name).write_text(value)
            (group / "cgroup.procs").write_text("0")
        yield
    finally:
        for group in groups:
            (group.parent / "cgroup.procs").write_text("0")
            # The workers may need a moment to leave.
            for _ in range(50):
                with contextlib.suppress(OSError):
                    group.rmdir()
                    break
                time.sleep(0.1)


def record(run: Run) -> None:
    """Train, look, and write the picture. In namespaces of its own."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        os.environ |= {"GPUTRAIN_HOME": str(folder / "state"), "GPUTRAIN_CONFIG": str(folder / "config")}
        nvml = NvmlStandIn(build(folder), folder / "script")
        if run.gpus:
            nvml.gpus(run.gpus)
            os.environ.update(nvml.env)
        if run.limits:
            stack.enter_context(limited())
        command = [sys.executable, "-P", "-m", "gputrain.tui.cli", "train", "--recipe", "demo", "--detach"]
        started = subprocess.run([*command, "epochs=200", *run.settings], check=True, capture_output=True, text=True)
        going = run_directory.find(started.stdout.split()[-1])
        try:
            watch(going, run.seconds)
            run.before(nvml)
            time.sleep(4)
            picture = asyncio.run(screenshots.picture(GpuTrainApp(launch.attach(going)), run.size))
            (HERE / run.place).write_text(picture + "\n")
        finally:
            stop(going)


def watch(going: run_directory.RunDir, seconds: float) -> None:
    """Return after so many seconds of steps, and a validation. Raises TimeoutError."""
    deadline = time.monotonic() + TIMEOUT
    attachment = launch.attach(going)
    trained, validated = 0.0, False
    while trained < seconds or not validated:
        if attachment.ended or time.monotonic() > deadline:
            raise TimeoutError("the run did not come so far; see its trainer.log")
        for event in attachment.read():
            trained += event.window_seconds if isinstance(event, Steps) else 0.0
            validated = validated or isinstance(event, Validated)
    attachment.close()


def stop(going: run_directory.RunDir) -> None:
    """End the run."""
    attachment = launch.attach(going)
    with contextlib.suppress(OSError):
        attachment.send(StopCommand(checkpoint=False, sender="pictures"))
        while not (attachment.ended or attachment.abandoned):
            attachment.read()
    attachment.close()


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scripted", action="store_true", help="only the pictures of scripted runs")
    parser.add_argument("--only", choices=RUNS, help="only this picture of a real run")
    parser.add_argument("--inside", choices=RUNS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        subprocess.run(["hostname", HOST], check=True)
        record(RUNS[options.inside])
        return
    if not options.only:
        screenshots.write(HERE / "screens")
    for name in () if options.scripted else [options.only] if options.only else RUNS:
        print(name, flush=True)
        alone = ["unshare", "--pid", "--fork", "--mount-proc", "--uts"]
        subprocess.run([*alone, sys.executable, __file__, "--inside", name], check=True)


if __name__ == "__main__":
    main()
