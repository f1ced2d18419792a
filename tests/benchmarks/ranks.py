"""Cost of the engine's use of DistributedDataParallel: ``python tests/benchmarks/ranks.py [--json]``.

Real processes with a network each train on one batch in memory: as the engine does (DistributedDataParallel with what
makes up for a failed rank, and the vote on the host that lets all ranks repeat an update), with bare
DistributedDataParallel, and each for itself, which exchanges nothing. They take turns in every round; a figure is the
median over rounds of rank 0's images per second times the ranks, a ratio the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import statistics
import tempfile
import time
from collections.abc import Callable

import harness
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torchvision import models

from gputrain.engine.processes.rank_environment import LOOPBACK, MeetingPoint
from gputrain.engine.training.distributed.ddp_network import DataParallel
from gputrain.engine.training.distributed.process_group import ProcessGroup

PACKAGES = ("gputrain-tui", "torch", "torchvision")
CONTENDERS = ("ours", "ddp", "no_exchange")
RATIOS = {"ours_vs_ddp": ("ours", "ddp"), "ours_vs_no_exchange": ("ours", "no_exchange")}
CLASSES = 100

Step = Callable[[torch.Tensor, torch.Tensor], None]


def _network(options: argparse.Namespace, device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = models.get_model(options.model, weights=None, num_classes=CLASSES)
    return network.to(device).train()


def _step(kind: str, options: argparse.Namespace, device: torch.device, ranks: ProcessGroup) -> Step:
    network = _network(options, device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    parallel = DataParallel(network, ranks, lambda: None) if kind == "ours" else None
    forward: Callable[[torch.Tensor], torch.Tensor] = network
    if kind == "ddp":
        forward = DistributedDataParallel(network, process_group=ranks.devices, gradient_as_bucket_view=True)

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        if parallel is None:
            nn.functional.cross_entropy(forward(images), labels).backward()
        else:
            with parallel.last_pass():
                nn.functional.cross_entropy(parallel.forward(images), labels).backward()
            parallel.finish()
            ranks.all_reduce_max([0, 0, 0, 0, 0, 0])
        optimizer.step()

    return step


def _work(rank: int, options: argparse.Namespace, meeting: MeetingPoint, out: str) -> None:
    torch.set_num_threads(max(1, options.threads))
    gpu = options.device == "cuda"
    device = torch.device("cuda", rank) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(rank)
    ranks = ProcessGroup(meeting, rank, options.ranks)
    ranks.use(device)
    images = torch.randn(options.batch_size, 3, options.size, options.size, device=device)
    labels = torch.randint(0, CLASSES, (options.batch_size,), device=device)
    steps = {kind: _step(kind, options, device, ranks) for kind in CONTENDERS}
    rounds: list[dict[str, float]] = []
    for number in range(1 + options.rounds):
        took: dict[str, float] = {}
        for kind in CONTENDERS if number % 2 else reversed(CONTENDERS):
            ranks.all_reduce_max([0])
            began = time.perf_counter()
            for _ in range(options.steps):
                steps[kind](images, labels)
            if gpu:
                torch.cuda.synchronize(device)
            ranks.all_reduce_max([0])
            took[kind] = options.ranks * options.batch_size * options.steps / (time.perf_counter() - began)
        if number:
            rounds.append(took)
    ranks.leave()
    if rank == 0:
        torch.save(rounds, out)


def main() -> None:
    """Run all, and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=5, help="steps of a turn")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each rank, on a CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.device_count() > 1 else "cpu")
    parser.add_argument("--model", default="resnet18", help="of torchvision")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--size", type=int, default=64, help="side of the images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as folder:
        out = f"{folder}/rounds.pt"
        context = multiprocessing.get_context("spawn")
        with socket.create_server((LOOPBACK, 0)) as listener:
            arguments = (options, MeetingPoint(LOOPBACK, listener.getsockname()[1]), out)
        processes = [context.Process(target=_work, args=(rank, *arguments)) for rank in range(options.ranks)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        rounds: list[dict[str, float]] = torch.load(out, weights_only=True)
    figures = {kind: {"images_per_second": statistics.median(one[kind] for one in rounds)} for kind in CONTENDERS}
    ratios = {name: statistics.median(one[a] / one[b] for one in rounds) for name, (a, b) in RATIOS.items()}
    versions = harness.versions(PACKAGES)
    setting = {name: getattr(options, name) for name in ("model", "batch_size", "size", "ranks", "device")}
    if options.json:
        print(harness.report(figures, ratios, {"setting": setting, "versions": versions}))
        return
    print(", ".join(f"{name} {value}" for name, value in setting.items()))
    for kind, figure in figures.items():
        print(f"{kind:14} {figure['images_per_second']:9,.1f} img/s")
    for name, value in ratios.items():
        print(f"{name}: {value:.3f}")
    print(", ".join(f"{name} {version or '–'}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
