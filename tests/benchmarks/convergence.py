"""Whether the settings that make training fast keep its accuracy:
``python tests/benchmarks/convergence.py [--json]``.

Each study trains a recipe several times with all optimizations off and several times with all on, with the same seeds:
the order and the crops of the images are equal, arithmetic and memory layout are not. The result is the difference of
the mean best validation accuracy, also in standard errors (Welch).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from dataclasses import dataclass, field

import harness

PACKAGES = ("gputrain-tui", "torch", "torchvision", "simplejpeg")
STANDARD = (
    "precision=fp32",
    "channels_last=false",
    "tf32=false",
    "cudnn_benchmark=false",
    "fused_optimizer=false",
    "set_to_none=false",
    "pin_memory=false",
    "cache=none",
)
OPTIMIZED = (
    "precision=bf16",
    "channels_last=true",
    "tf32=true",
    "cudnn_benchmark=true",
    "fused_optimizer=true",
    "set_to_none=true",
    "cache=ram",
    "cache_form=raw",
)
STUDIES = {
    "demo": ("--recipe", "demo"),
    # As small as CIFAR's images, the size at which a network sees least.
    "small": ("--recipe", "demo", "image_size=32", "val_resize=36", "lr=0.2", "epochs=30"),
}


@dataclass(slots=True)
class Side:
    """Results of one choice of settings."""

    accuracy: list[float] = field(default_factory=list)
    """Best validation accuracy by seed, 0…1."""
    seconds: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return statistics.mean(self.accuracy)

    @property
    def deviation(self) -> float:
        return statistics.stdev(self.accuracy) if len(self.accuracy) > 1 else math.nan

    def add(self, arguments: tuple[str, ...], seed: int) -> None:
        """Train once more. Raises RuntimeError with the run's output if it fails."""
        command = [sys.executable, "-m", "gputrain.tui.cli", "train", "--json", *arguments, f"seed={seed}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:] or done.stdout[-2000:])
        summary = json.loads(done.stdout.splitlines()[-1])
        self.accuracy.append(summary["best"])
        self.seconds.append(summary["seconds"])


def _distance(one: Side, other: Side) -> float:
    """Difference of the means in standard errors (Welch's t)."""
    error = math.sqrt(one.deviation**2 / len(one.accuracy) + other.deviation**2 / len(other.accuracy))
    return (other.mean - one.mean) / error if error else 0.0


def study(name: str, seeds: range, extra: list[str]) -> tuple[Side, Side]:
    """Train both sides with each of `seeds`, alternating."""
    standard, optimized = Side(), Side()
    for seed in seeds:
        standard.add((*STUDIES[name], *STANDARD, *extra), seed)
        optimized.add((*STUDIES[name], *OPTIMIZED, *extra), seed)
    return standard, optimized


def main() -> None:
    """Run the studies and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0, help="to go on where an earlier study ended")
    parser.add_argument("--only", nargs="*", default=[], choices=[*STUDIES, []], help="studies to run")
    parser.add_argument("extra", nargs="*", help="key=value for both sides, such as epochs=2")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    found = {name: study(name, seeds, options.extra) for name in options.only or STUDIES}
    versions = harness.versions(PACKAGES)
    if options.json:
        figures = {
            f"{name}_{side}": {"accuracy": one.accuracy, "mean": one.mean, "seconds": one.seconds}
            for name, pair in found.items()
            for side, one in zip(("standard", "optimized"), pair, strict=True)
        }
        ratios = {f"{name}_optimized_vs_standard": pair[1].mean / pair[0].mean for name, pair in found.items()}
        distances = {name: _distance(*pair) for name, pair in found.items()}
        print(harness.report(figures, ratios, {"standard_errors": distances, "versions": versions}))
        return
    print(f"{'':24} {'best accuracy, mean':>20} {'deviation':>10} {'by seed':>24}")
    for name, pair in found.items():
        for side, one in zip(("standard", "optimized"), pair, strict=True):
            each = " ".join(f"{value:.2%}" for value in one.accuracy)
            print(f"{name + ', ' + side:24} {one.mean:20.2%} {one.deviation:10.2%} {each:>24}")
        print(f"{'difference':24} {pair[1].mean - pair[0].mean:20.2%}   {_distance(*pair):.1f} standard errors")
    print(", ".join(f"{name} {version or '–'}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
