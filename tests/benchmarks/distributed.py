"""Several ranks beside other loops, and the loss of a rank: ``python tests/benchmarks/distributed.py [--json]``.

Each loop has real gloo ranks of its own, with the same share of the cores for each rank. The loops take turns in every
round; a figure is the median over rounds of the images per second of all ranks, a ratio the median of the rounds'
ratios. `scaling_2` is the speed of two ranks over twice that of one rank with a core of its own.

`rank_killed_to_training_s` is the time from ``kill -9`` of a rank of a real run to its next steps.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import harness
from distributed_loops import CLASSES, LOOPS, Loop, Place, Setting
from distributed_loss import seconds_to_training
from PIL import Image

PACKAGES = ("gputrain-tui", "torch", "torchvision", "lightning", "accelerate")
RATIOS = {
    "ours_vs_ddp": ("ours", "ddp"),
    "vs_lightning": ("ours", "lightning"),
    "vs_accelerate": ("ours", "accelerate"),
    "scaling": ("ours", "ours_alone"),
}
_NO_PREDICTION = "the plan predicts no speed for several devices"


class _Group:
    """The processes of one loop. They wait between two turns."""

    def __init__(self, loop: Loop, setting: Setting, ranks: int) -> None:
        self.loop, self.reason = loop, ""
        self.rates: list[float] = []
        count = loop.ranks or ranks
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(count):
            pipe, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, loop, setting, Place(rank, count, port)))
            process.start()
            theirs.close()
            self._pipes.append(pipe)
            self._processes.append(process)
        self._answers()
        self.images = count * setting.batch_size * setting.steps

    def _answers(self) -> None:
        try:
            found = [pipe.recv() for pipe in self._pipes]
        except (EOFError, OSError):
            self.reason = "one of its processes has ended"
        else:
            self.reason = next((reason for reason in found if reason), "")

    def turn(self) -> None:
        """One turn of all ranks."""
        began = time.perf_counter()
        for pipe in self._pipes:
            pipe.send("turn")
        self._answers()
        self.rates.append(self.images / (time.perf_counter() - began))

    def end(self) -> None:
        """End its processes."""
        for process in self._processes:
            process.kill()
            process.join()


def _serve(pipe: Connection, loop: Loop, setting: Setting, place: Place) -> None:
    import torch

    # What a package prints belongs to no report.
    os.dup2(2, 1)
    cores = sorted(os.sched_getaffinity(0))
    first = place.rank * setting.cores % len(cores)
    os.sched_setaffinity(0, cores[first : first + setting.cores])
    torch.set_num_threads(setting.cores)
    place.set_environment()
    try:
        one_pass = loop.make(setting, place)
        one_pass()  # Memory and threads are there.
    except Exception as error:  # noqa: BLE001 - whatever keeps a peer from running is its reason
        missing = isinstance(error, ImportError)
        pipe.send(f"not installed: {error}" if missing else f"{type(error).__name__}: {error}")
        return
    pipe.send("")
    while pipe.recv() == "turn":
        one_pass()
        pipe.send("")


def _measure(options: argparse.Namespace, data: Path) -> list[_Group]:
    cores = max(1, len(os.sched_getaffinity(0)) // options.ranks)
    setting = Setting(data, options.model, options.batch_size, options.size, options.steps, cores)
    groups = [_Group(loop, setting, options.ranks) for loop in LOOPS if not options.only or loop.key in options.only]
    try:
        for number in range(options.rounds):
            for group in groups if number % 2 else reversed(groups):
                if not group.reason:
                    group.turn()
    finally:
        for group in groups:
            group.end()
    return groups


def _ratio(groups: dict[str, _Group], first: str, second: str, ranks: int) -> tuple[float | None, str]:
    if first not in groups or second not in groups:
        return None, "not run"
    one, other = groups[first], groups[second]
    if one.reason or other.reason:
        return None, one.reason or other.reason
    more = ranks if other.loop.ranks == 1 else 1
    return statistics.median(a / b / more for a, b in zip(one.rates, other.rates, strict=True)), ""


def _data(root: Path) -> Path:
    """An image folder with one image per class, as the trainer reads its data before it starts."""
    for number in range(CLASSES):
        folder = root / "train" / f"{number:03}"
        folder.mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(folder / "0.jpg")
    return root


def _report(options: argparse.Namespace, groups: dict[str, _Group], lost: list[float]) -> dict[str, Any]:
    figures: dict[str, Any] = {
        key: {
            "images_per_second": statistics.median(group.rates) if group.rates and not group.reason else None,
            "how": group.loop.how,
            "reason": group.reason,
        }
        for key, group in groups.items()
    }
    figures["rank_killed_to_training_s"] = statistics.median(lost) if lost else None
    pairs = {name: _ratio(groups, *keys, options.ranks) for name, keys in RATIOS.items()}
    pairs[f"scaling_{options.ranks}"] = pairs.pop("scaling")
    pairs[f"scaling_{options.ranks}_vs_prediction"] = None, _NO_PREDICTION
    return {
        "figures": figures,
        "ratios": {name: value for name, (value, _) in pairs.items()},
        "reasons": {name: reason for name, (_, reason) in pairs.items() if reason},
        "setting": {name: getattr(options, name) for name in ("model", "batch_size", "size", "ranks")},
        "versions": harness.versions(PACKAGES),
    }


def main() -> None:
    """Run all, and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=8, help="steps of a turn")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--kills", type=int, default=1, help="times that a rank of a run is killed")
    parser.add_argument("--model", default="resnet18", help="of torchvision")
    parser.add_argument("--batch-size", type=int, default=16, help="of each rank")
    parser.add_argument("--size", type=int, default=96, help="side of the images")
    parser.add_argument("--only", nargs="*", default=[], help="keys of the loops to run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as folder:
        for name in ("HOME", "CACHE", "CONFIG"):
            os.environ[f"GPUTRAIN_{name}"] = str(Path(folder) / name.lower())
        groups = {group.loop.key: group for group in _measure(options, _data(Path(folder) / "data"))}
        lost = [seconds_to_training(Path(folder) / f"killed-{n}") for n in range(options.kills)]
    found = _report(options, groups, lost)
    if options.json:
        print(harness.report(found.pop("figures"), found.pop("ratios"), found))
        return
    print(", ".join(f"{name} {value}" for name, value in found["setting"].items()))
    for key in groups:
        figure = found["figures"][key]
        rate = figure["images_per_second"]
        print(f"{figure['how']:36} " + (f"{rate:9,.1f} img/s" if rate else figure["reason"]))
    for name, value in found["ratios"].items():
        print(f"{name}: {value:.3f}" if value is not None else f"{name}: none ({found['reasons'][name]})")
    if lost:
        print(f"kill -9 of a rank to the next steps: {found['figures']['rank_killed_to_training_s']:.1f} s")
    print(", ".join(f"{name} {version or '–'}" for name, version in found["versions"].items()))


if __name__ == "__main__":
    main()
