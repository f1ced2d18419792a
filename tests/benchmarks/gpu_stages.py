"""What `on_gpu.py` runs: stages in the order of their worth, each of at most three minutes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
STAGE_SECONDS = 180.0
PUBLISHED = {"ladder_000": 2.7, "ladder_003": 3.8}
"""Speed-ups that the authors of the two seeds report for all optimizations together."""


@dataclass(frozen=True, slots=True)
class Step:
    """One check."""

    name: str
    command: tuple[str, ...]
    limit: float
    """Seconds after which it is ended."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Checks that answer one question. They run one after the other: each has the GPU to itself."""

    name: str
    asks: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done: on a GPU, or (`small`) as little as shows that the commands work, on a CPU."""

    home: Path
    """Where images are drawn and runs are recorded."""
    small: bool

    @property
    def photos(self) -> Path:
        """The folder that the program trains on."""
        return self.home / "photos"

    def of(self, large: list[object], small: list[object]) -> list[object]:
        """The arguments for this size."""
        return small if self.small else large


def _python(*command: object) -> tuple[str, ...]:
    return (sys.executable, *map(str, command))


def _program(*command: object) -> tuple[str, ...]:
    return _python("-m", "gputrain.tui.cli", *command)


def _train(sizes: Sizes, name: str, *settings: object) -> tuple[str, ...]:
    """Train a ResNet-50, or in small a network for a CPU, on the photographs."""
    small = ["model=simple_cnn", "image_size=32", "val_resize=36", "batch_size=8", "device=cpu", "max_steps=2"]
    more = sizes.of([], [*small, "compile=false", "epochs=1", "val_split="])
    data = ["--recipe", "resnet50-imagefolder", "--data", sizes.photos, "warmup_epochs=0"]
    return _program("train", *data, f"name={name}", *settings, *more, "--json")


def stages(sizes: Sizes) -> list[Stage]:
    """All stages, the most valuable first."""
    return [_smoke(sizes), _ladder(sizes), _step(sizes), _data(sizes), _memory(sizes), _diagnosis(sizes), _rest(sizes)]


def _smoke(sizes: Sizes) -> Stage:
    demo = sizes.of(["max_steps=60"], ["max_steps=2", "device=cpu", "val_split="])
    tests = ["-m", "pytest", "-q", "-m", "gpu", "-rfE", *sizes.of([], ["--collect-only"])]
    sources = sizes.of([], ["--seconds", 0.5])
    steps = (
        Step("demo", _program("train", "--recipe", "demo", *demo, "--json"), 60),
        Step("resnet50", _train(sizes, "smoke", "batch_size=64", "max_steps=60"), 60),
        Step("gauges", _python(_HERE / "sources.py", "--json", *sources), 30),
        Step("tests", _python(*tests, _HERE.parent / "engine" / "training", _HERE.parent / "engine" / "check"), 150),
    )
    return Stage("smoke", "does it train, and do its gauges agree with nvidia-smi?", steps)


def _ladder(sizes: Sizes) -> Stage:
    def bench(name: str, recipe: str, limit: float) -> Step:
        # Both in batches of one size, so that the second finds the compiled graphs of the first.
        large: list[object] = ["batch_size=192", "--ladder", "--rounds", 1, "--steps", 20]
        small = ["batch_size=8", "--rounds", 1, "--steps", 2, "device=cpu", "model=simple_cnn", "image_size=32"]
        data = ["--recipe", recipe, "--data", sizes.photos, "--markdown", sizes.home / f"{name}.md", "--json"]
        return Step(name, _program("bench", *data, *sizes.of(large, [*small, "val_resize=36"])), limit)

    steps = (bench("ladder_000", "resnet50-imagefolder", 110), bench("ladder_003", "imagenet-resnet50", 110))
    return Stage("ladder", "how much faster are all optimizations than the standard settings?", steps)


def _step(sizes: Sizes) -> Stage:
    few = sizes.of(["--rounds", 3, "--lives", 1], ["--rounds", 1, "--lives", 1, "--steps", 2, "--size", 32])
    few = [*few, *sizes.of([], ["--batch-size", 4, "--device", "cpu", "--only", "bare", "ours"])]
    compiled = sizes.of(["--compile"], [])
    steps = (
        Step("step", _python(_HERE / "step.py", "--json", *few), 90),
        Step("step_compiled", _python(_HERE / "step.py", "--json", *compiled, *few), 120),
    )
    return Stage("step", "is a step as fast as in the loops of torchvision and timm, and what is its MFU?", steps)


def _data(sizes: Sizes) -> Stage:
    few = sizes.of(
        ["--images", 800, "--rounds", 3],
        ["--images", 96, "--rounds", 1, "--workers", 1, "--device", "cpu", "--only", "loader", "equal", "equal_alone"],
    )
    raw = sizes.of(
        ["--images", 800, "--rounds", 1, "--only", "full_decode", "ours", "ours_raw"],
        ["--images", 64, "--rounds", 1, "--workers", 1, "--only", "full_decode", "ours"],
    )
    steps = (
        Step("end_to_end", _python(_HERE / "end_to_end.py", "--json", "--folder", sizes.home, *few), 120),
        Step("loader", _python(_HERE / "loader.py", "--json", "--folder", sizes.home, *raw), 60),
    )
    return Stage("data", "is real data as fast as synthetic, without a cache and with a raw one?", steps)


def _memory(sizes: Sizes) -> Stage:
    steps = (
        Step("oom", (*_train(sizes, "oom", "batch_size=6144", "max_steps=3", "num_workers=8"), "--force"), 80),
        Step("compile", _train(sizes, "compile", "batch_size=192", "max_steps=80", "compile=true"), 80),
        Step("graphs", _train(sizes, "graphs", "max_steps=80", "compile=true", "compile_mode=reduce-overhead"), 80),
    )
    return Stage("memory", "does training survive a batch too large, and run with compile and CUDA graphs?", steps)


def _diagnosis(sizes: Sizes) -> Stage:
    few = sizes.of(["--window", 3], ["--window", 1, "--quiet", 0])
    traces = ["--gpu", "--json", "--runs", 1, "--folder", sizes.home / "photos-diagnosis", *few]
    return Stage(
        "diagnosis",
        "does the diagnosis find the causes that only a GPU has?",
        (Step("diagnosis", _python(_HERE / "diagnosis.py", *traces), STAGE_SECONDS),),
    )


def _rest(sizes: Sizes) -> Stage:
    device = sizes.of([], ["device=cpu", "model=simple_cnn", "image_size=32", "val_resize=36", "batch_size=8"])
    data = ["--recipe", "resnet50-imagefolder", "--data", sizes.photos, *device]
    seconds = sizes.of([20], [5])
    run = _train(sizes, "rest", "cache=ram", "epochs=2")
    steps = (
        Step("check", _program("check", "--json"), 40),
        Step("plan", _program("train", *data, "--dry-run"), 30),
        Step("calibrate", _program("calibrate", *data, "--json", "--seconds", *seconds), 80),
        Step("train", run, 90),
        Step("diagnose", _program("diagnose", "last", "--why"), 20),
        Step("export", _program("export", "last", "--view", "120x35", sizes.home / "dashboard.svg"), 30),
    )
    return Stage("program", "do check, plan, calibrate, a recorded training, diagnose and export work?", steps)
