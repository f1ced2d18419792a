"""Predicted against measured speed of DistributedDataParallel on gloo ranks of this machine.

Measured with N ranks at the same time, one thread each: the bandwidth of an all-reduce, a training step that exchanges
nothing (``no_sync``), and a step that does. The plan's model predicts the latter from the first two.

    python tests/benchmarks/scaling.py [--ranks 2,4] [--steps 12] [--json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gputrain.engine.estimates import all_reduce
from gputrain.engine.estimates.all_reduce import Link

_BATCH, _SIDE = 8, 64
_ROUNDS = 5
_TEST_BYTES = 16 << 20


def network() -> nn.Module:
    """A small network whose weights are many for its computing, so that the exchange shows: 8.4 million parameters."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, stride=1, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(8),
        nn.Flatten(),
        nn.Linear(8192, 1000),
    )


def timed(call: Callable[[], object], times: int) -> float:
    """Median seconds of a call over `times` calls that all ranks begin together."""
    seconds = []
    for _ in range(times):
        dist.barrier()
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure(rank: int, count: int, store: str, steps: int, answer: str) -> None:
    """One rank: writes its figures to `answer` as JSON, if it is rank 0."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=count)
    ddp = DistributedDataParallel(network(), gradient_as_bucket_view=True)
    parameters = sum(parameter.numel() for parameter in ddp.parameters())
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.01)
    images, labels = torch.randn(_BATCH, 3, _SIDE, _SIDE), torch.randint(0, 1000, (_BATCH,))
    buffer = torch.zeros(_TEST_BYTES // 4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        nn.functional.cross_entropy(ddp(images), labels).backward()
        optimizer.step()

    def alone() -> None:
        with ddp.no_sync():
            step()

    for call in (step, step, alone):
        call()
    found: dict[str, list[float]] = {"all_reduce": [], "alone": [], "together": []}
    # In turns, so that other load of the machine strikes all three.
    for _ in range(_ROUNDS):
        found["all_reduce"].append(timed(lambda: dist.all_reduce(buffer), max(2, steps // 3)))
        found["alone"].append(timed(alone, steps))
        found["together"].append(timed(step, steps))
    if rank == 0:
        middle = {name: statistics.median(values) for name, values in found.items()}
        Path(answer).write_text(json.dumps({**middle, "parameters": parameters}))
    dist.destroy_process_group()


def compare(count: int, steps: int) -> dict[str, Any]:
    """Figures of `count` ranks: times in seconds, bandwidth in bytes per second, efficiencies 0…1."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        context = multiprocessing.get_context("spawn")
        given = (count, str(Path(folder, "store")), steps, str(answer))
        processes = [context.Process(target=measure, args=(rank, *given)) for rank in range(count)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        found: dict[str, float] = json.loads(answer.read_text())
    bandwidth = 2 * (count - 1) / count * _TEST_BYTES / found["all_reduce"]
    sizes = all_reduce.buckets(int(found["parameters"]) * 4)
    predicted = all_reduce.exchange(sizes, count, Link(bandwidth, 0.0), backward=0.0)
    step = found["alone"] + predicted.exposed
    return {
        "ranks": count,
        "bandwidth": bandwidth,
        "alone": found["alone"],
        "predicted_step": step,
        "measured_step": found["together"],
        "predicted_efficiency": found["alone"] / step,
        "measured_efficiency": found["alone"] / found["together"],
        "step_error": step / found["together"] - 1,
    }


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", default="2,4", help="numbers of ranks, separated by commas")
    parser.add_argument("--steps", type=int, default=12, help="steps of each of five rounds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [compare(int(count), options.steps) for count in options.ranks.split(",")]
    if options.json:
        figures = {str(row["ranks"]): row for row in rows}
        ratios = {f"predicted_vs_measured_{name}": 1 + row["step_error"] for name, row in figures.items()}
        print(json.dumps({"figures": figures, "ratios": ratios}))
        return
    for row in rows:
        print(
            f"{row['ranks']} gloo ranks: all-reduce {row['bandwidth'] / 1e9:.2f} GB/s; step alone "
            f"{row['alone'] * 1e3:.0f} ms, predicted {row['predicted_step'] * 1e3:.0f} ms, measured "
            f"{row['measured_step'] * 1e3:.0f} ms ({row['step_error']:+.0%}); efficiency predicted "
            f"{row['predicted_efficiency']:.0%}, measured {row['measured_efficiency']:.0%}"
        )


if __name__ == "__main__":
    main()
