"""Several ranks beside other loops, and the loss of a rank: ``python tests/benchmarks/distributed.py [--json]``.

Each loop has real gloo ranks of its own, with the same share of the cores for each rank. The loops take turns in every
round; a figure is the median over rounds of the images per second of all ranks, a ratio the median of the rounds'
ratios. Processes that do the same differ by some percent for as long as they live, so all is repeated with new ones
(`--repeats`), and the result is the median over the repeats, with their range.

`scaling_2` is the speed of two ranks over twice that of one rank with a core of its own, while the other core idles.
`scaling_2_vs_prediction` is the efficiency that `scaling.py` measures, over the plan's prediction from a measured
all-reduce, with all cores at work for both.

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
from scaling import compare

PACKAGES = ("gputrain-tui", "torch", "torchvision", "lightning", "accelerate")
RATIOS = {
    "ours_vs_ddp": ("ours", "ddp"),
    "vs_lightning": ("ours", "lightning"),
    "vs_accelerate": ("ours", "accelerate"),
    "scaling": ("ours", "ours_alone"),
}


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


_Repeats = list[dict[str, _Group]]


def _ratios(repeats: _Repeats, first: str, second: str, ranks: int) -> tuple[list[float], str]:
    """One for each repeat, or why there is none."""
    found = []
    for groups in repeats:
        if first not in groups or second not in groups:
            return [], "not run"
        one, other = groups[first], groups[second]
        if one.reason or other.reason:
            return [], one.reason or other.reason
        more = ranks if other.loop.ranks == 1 else 1
        found.append(statistics.median(a / b / more for a, b in zip(one.rates, other.rates, strict=True)))
    return found, ""


def _data(root: Path) -> Path:
    """An image folder with one image per class, as the trainer reads its data before it starts."""
    for number in range(CLASSES):
        folder = root / "train" / f"{number:03}"
        folder.mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(folder / "0.jpg")
    return root


def _figure(groups: list[_Group]) -> dict[str, Any]:
    reason = next((group.reason for group in groups if group.reason), "")
    rates = [rate for group in groups for rate in group.rates]
    middle = statistics.median(rates) if rates and not reason else None
    return {"images_per_second": middle, "how": groups[0].loop.how, "reason": reason}


def _report(options: argparse.Namespace, repeats: _Repeats, lost: list[float]) -> dict[str, Any]:
    figures: dict[str, Any] = {key: _figure([groups[key] for groups in repeats]) for key in repeats[0]}
    figures["rank_killed_to_training_s"] = statistics.median(lost) if lost else None
    pairs = {name: _ratios(repeats, *keys, options.ranks) for name, keys in RATIOS.items()}
    pairs[f"scaling_{options.ranks}"] = pairs.pop("scaling")
    ratios = {name: statistics.median(found) if found else None for name, (found, _) in pairs.items()}
    reasons = {name: reason for name, (_, reason) in pairs.items() if reason}
    figures["ranges"] = {name: [min(found), max(found)] for name, (found, _) in pairs.items() if found}
    against = f"scaling_{options.ranks}_vs_prediction"
    ratios[against] = None
    if options.scaling_steps:
        figures["scaling"] = row = compare(options.ranks, options.scaling_steps)
        ratios[against] = row["measured_efficiency"] / row["predicted_efficiency"]
    else:
        reasons[against] = "not run: --scaling-steps 0"
    return {
        "figures": figures,
        "ratios": ratios,
        "reasons": reasons,
        "setting": {name: getattr(options, name) for name in ("model", "batch_size", "size", "ranks")},
        "versions": harness.versions(PACKAGES),
    }


def main() -> None:
    """Run all, and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=5, help="with new processes")
    parser.add_argument("--rounds", type=int, default=3, help="of each repeat")
    parser.add_argument("--steps", type=int, default=8, help="steps of a turn")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--kills", type=int, default=1, help="times that a rank of a run is killed")
    parser.add_argument("--model", default="resnet18", help="of torchvision")
    parser.add_argument("--batch-size", type=int, default=16, help="of each rank")
    parser.add_argument("--size", type=int, default=96, help="side of the images")
    parser.add_argument("--scaling-steps", type=int, default=12, help="steps of each round of scaling.py; 0: none")
    parser.add_argument("--only", nargs="*", default=[], help="keys of the loops to run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as folder:
        for name in ("HOME", "CACHE", "CONFIG"):
            os.environ[f"GPUTRAIN_{name}"] = str(Path(folder) / name.lower())
        data = _data(Path(folder) / "data")
        repeats = [{one.loop.key: one for one in _measure(options, data)} for _ in range(options.repeats)]
        lost = [seconds_to_training(Path(folder) / f"killed-{n}") for n in range(options.kills)]
    found = _report(options, repeats, lost)
    if options.json:
        print(harness.report(found.pop("figures"), found.pop("ratios"), found))
        return
    print(", ".join(f"{name} {value}" for name, value in found["setting"].items()))
    for key in repeats[0]:
        figure = found["figures"][key]
        rate = figure["images_per_second"]
        print(f"{figure['how']:36} " + (f"{rate:9,.1f} img/s" if rate else figure["reason"]))
    for name, value in found["ratios"].items():
        low, high = found["figures"]["ranges"].get(name, (value, value))
        text = f"{value:.3f} ({low:.3f} to {high:.3f})" if value is not None else f"none ({found['reasons'][name]})"
        print(f"{name}: {text}")
    if lost:
        print(f"kill -9 of a rank to the next steps: {found['figures']['rank_killed_to_training_s']:.1f} s")
    print(", ".join(f"{name} {version or '–'}" for name, version in found["versions"].items()))


if __name__ == "__main__":
    main()
