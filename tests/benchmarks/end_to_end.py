"""From JPEG files to trained epochs, against the slower of loader and step alone:
``python tests/benchmarks/end_to_end.py [--json]``.

On a GPU the step is a real one. Without one, an accelerator is stood in for by a step that takes time and no CPU, as
fast as the loader alone (where any hitch of either shows most), a quarter slower, and a quarter faster; beside that
the real step on the CPU, whose limit is another one: loader and step share the cores; and a step that is nothing but
the host's work of launching small operations, beside workers as threads and as processes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import harness
import photos
import torch
from driven import EPOCHS, driven
from harness import Contender, Pass, Result
from torch import nn

from gputrain.engine.configuration import settings
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.datasets.image_set import scan
from gputrain.engine.estimates.worker_limit import worker_limit
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.models import create_model
from gputrain.engine.training.transforms.device_transforms import DeviceBatch, DevicePrefetcher, PreparedBatch

PACKAGES = ("gputrain-tui", "torch", "torchvision", "simplejpeg")
SPEEDS = {"equal": 1.0, "slower": 1.25, "faster": 0.8}
"""Seconds of the stand-in's step over those of the loader's batch."""
_TIMES = {"cuda": 8, "cpu": 1}
"""How often each image stands in an epoch, which a GPU is otherwise through with in a second."""
_OPERATIONS, _FEW = 4000, 8
"""Operations of a step that is the host's alone, and its images: few, so that the loader is not the limit."""
_AHEAD = 4
"""Steps that are queued for the stand-in at most, as kernels of some steps are for a GPU."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What every contender gets."""

    data: Path
    cache: Path
    workers: int
    device: str
    batch_seconds: float = 0.0
    """Seconds in which the loader alone makes a batch."""


def _config(setting: Setting, **values: object) -> RunConfig:
    os.environ["GPUTRAIN_CACHE"] = str(setting.cache)
    gpu = setting.device == "cuda"
    return settings.build(
        {
            "device": setting.device,
            "dataset": "imagefolder",
            "data_dir": str(setting.data),
            "val_split": "",
            "model": "resnet50" if gpu else "simple_cnn",
            "batch_size": 256 if gpu else 32,
            "image_size": 224,
            "num_workers": setting.workers,
            # As the plan has it.
            "loader": "processes" if gpu else "threads",
            "cache": "ram" if gpu else "none",
            "precision": "bf16" if gpu else "fp32",
            "compile": gpu,
            "epochs": 100_000,
            "checkpoint_epochs": 0,
            "lr": 1e-4,
            **values,
        }
    )


def loader(setting: Setting) -> Pass:
    """The loader alone: a pass is as many epochs as a turn of the trainer has."""
    config = _config(setting, epochs=EPOCHS)
    source = make_loader(scan(str(setting.data), "train"), config, train=True, pin=setting.device == "cuda")
    return lambda: sum(len(batch.images) for epoch in range(EPOCHS) for batch in source.epoch(epoch))


def step(setting: Setting) -> Pass:
    """The real step alone, on a resident batch."""
    return driven(_config(setting), 10)


def whole(setting: Setting) -> Pass:
    """The trainer with the real step and real data."""
    return driven(_config(setting), None)


class _Accelerator(nn.Module):
    """Takes time and no CPU, as work on another device does. It works by itself: the host queues steps, a few ahead."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._free = 0.0
        self._ends: deque[float] = deque()
        self.scores = nn.Parameter(torch.zeros(1, 1000))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Queue the work on a batch; returns when not too much is queued."""
        if torch.get_num_threads() > 1:
            # Loss and update of its few numbers are the host's: more threads would wait for the loader's cores.
            torch.set_num_threads(1)
        now = time.perf_counter()
        self._free = max(now, self._free) + self._seconds
        self._ends.append(self._free)
        if len(self._ends) > _AHEAD:
            time.sleep(max(0.0, self._ends.popleft() - now))
        return self.scores.expand(len(images), -1)

    def finish(self) -> None:
        """Wait for all that is queued."""
        time.sleep(max(0.0, self._free - time.perf_counter()))
        self._ends.clear()


def _prepare(_feed: DevicePrefetcher, batch: DeviceBatch) -> PreparedBatch:
    """The device's part of augmentation is in the step's time."""
    return PreparedBatch(batch.images, batch.labels, None, 1.0)


def _stand_in(setting: Setting, speed: str, steps: int | None) -> Pass:
    seconds = setting.batch_seconds * SPEEDS[speed]
    accelerator = _Accelerator(seconds)
    patches = ((create_model, "build", lambda *_: accelerator), (DevicePrefetcher, "prepare", _prepare))
    return driven(_config(setting), steps, patches, accelerator.finish)


def equal(setting: Setting) -> Pass:
    """An accelerator as fast as the loader."""
    return _stand_in(setting, "equal", None)


def slower(setting: Setting) -> Pass:
    """An accelerator that is slower: the step is the limit."""
    return _stand_in(setting, "slower", None)


def faster(setting: Setting) -> Pass:
    """An accelerator that is faster: the loader is the limit."""
    return _stand_in(setting, "faster", None)


def equal_alone(setting: Setting) -> Pass:
    """The stand-in's steps without data loading."""
    return _stand_in(setting, "equal", 10)


def slower_alone(setting: Setting) -> Pass:
    """The slower one's."""
    return _stand_in(setting, "slower", 10)


def faster_alone(setting: Setting) -> Pass:
    """The faster one's."""
    return _stand_in(setting, "faster", 10)


class _Launching(nn.Module):
    """A step of thousands of small operations, as a host launches a network's kernels, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(1, 1000))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Takes about 10 ms, most of it the interpreter's."""
        if torch.get_num_threads() > 1:
            torch.set_num_threads(1)
        launched = self.scores.detach()[:, :1]
        for _ in range(_OPERATIONS):
            launched = launched + 1.0
        return self.scores.expand(len(images), -1)


def _launching(setting: Setting, kind: str, steps: int | None) -> Pass:
    host = _Launching()
    config = _config(setting, loader=kind, batch_size=_FEW)
    return driven(
        config, steps, ((create_model, "build", lambda *_: host), (DevicePrefetcher, "prepare", _prepare)), lambda: None
    )


def host_alone(setting: Setting) -> Pass:
    """The launching without data loading."""
    return _launching(setting, "threads", 100)


def host_threads(setting: Setting) -> Pass:
    """Beside workers that are threads of the same interpreter."""
    return _launching(setting, "threads", None)


def host_processes(setting: Setting) -> Pass:
    """Beside worker processes."""
    return _launching(setting, "processes", None)


REAL = (
    Contender("loader", "loader alone", "", loader),
    Contender("step", "real step alone", "", step),
    Contender("whole", "real step, real data", "", whole),
)
STAND_INS = (
    Contender("equal_alone", "stand-in as fast as the loader, alone", "", equal_alone),
    Contender("equal", "… with real data", "", equal),
    Contender("slower_alone", "stand-in a quarter slower, alone", "", slower_alone),
    Contender("slower", "… with real data", "", slower),
    Contender("faster_alone", "stand-in a fifth faster, alone", "", faster_alone),
    Contender("faster", "… with real data", "", faster),
    Contender("host_alone", "a host that launches small operations, alone", "", host_alone),
    Contender("host_threads", "… beside worker threads", "", host_threads),
    Contender("host_processes", "… beside worker processes", "", host_processes),
)


def _limited(results: dict[str, Result], whole_key: str, step_key: str) -> tuple[float | None, str]:
    """Whole over the slower of loader and step, the median over rounds."""
    three = [results[key] for key in (whole_key, "loader", step_key) if key in results]
    reason = next((one.reason for one in three if one.reason), "" if len(three) == 3 else "not run")
    if reason:
        return None, reason
    rounds = zip(*(one.wall for one in three), strict=True)
    return statistics.median(both / min(load, steps) for both, load, steps in rounds), ""


def _shared(results: dict[str, Result]) -> tuple[float | None, str]:
    """Whole over what loader and step could do one after the other on the same cores."""
    three = [results[key] for key in ("whole", "loader", "step") if key in results]
    reason = next((one.reason for one in three if one.reason), "" if len(three) == 3 else "not run")
    if reason:
        return None, reason
    rounds = zip(*(one.wall for one in three), strict=True)
    return statistics.median(both * (1 / load + 1 / steps) for both, load, steps in rounds), ""


def _ratios(results: dict[str, Result], device: str) -> dict[str, tuple[float | None, str]]:
    if device == "cuda":
        return {"end_to_end_vs_limit": _limited(results, "whole", "step")}
    speeds = {speed: _limited(results, speed, f"{speed}_alone") for speed in SPEEDS}
    measured = [value for value, _ in speeds.values() if value is not None]
    worst = (min(measured), "") if len(measured) == len(speeds) else (None, "not all were run")
    return {
        "end_to_end_vs_limit": worst,
        **{f"stand_in_{speed}_vs_limit": found for speed, found in speeds.items()},
        "cpu_vs_shared_cores": _shared(results),
        "host_threads_vs_alone": harness.ratio(results, "host_threads", "host_alone", wall=True),
        "host_processes_vs_alone": harness.ratio(results, "host_processes", "host_alone", wall=True),
    }


def _table(results: dict[str, Result]) -> str:
    lines = [f"{'':44} {'img/s':>9}"]
    for result in results.values():
        rate = result.per_second
        lines.append(f"{result.contender.name:44} {f'{rate:9,.1f}' if rate is not None else result.reason}")
    return "\n".join(lines)


def main() -> None:
    """Run all contenders and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument(
        "--times", type=int, help="how often each image stands in an epoch, as links; 8 on a GPU, else 1"
    )
    parser.add_argument("--rounds", type=int, default=3)
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--workers", type=int, default=worker_limit(cores), help="default: as a plan, 75 %% of the cores"
    )
    parser.add_argument("--device", choices=list(_TIMES), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--folder", type=Path, help="keep the drawn images here")
    parser.add_argument("--only", nargs="*", default=[], help="keys of the contenders to run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as temporary:
        folder = options.folder or Path(temporary)
        drawn, times = photos.draw(folder / "photos", options.images), options.times or _TIMES[options.device]
        data = photos.linked(drawn, times) if times > 1 else drawn
        setting = Setting(data, folder, options.workers, options.device)
        chosen = list(REAL)
        if options.device == "cpu":
            alone = harness.compare(REAL[:1], setting, 1)[0].per_second
            assert alone is not None
            setting = replace(setting, batch_seconds=_config(setting).data.batch_size / alone)
            chosen += STAND_INS
        chosen = [c for c in chosen if not options.only or c.key in options.only]
        results = {result.contender.key: result for result in harness.compare(chosen, setting, options.rounds)}
    found = _ratios(results, options.device)
    versions = harness.versions(PACKAGES)
    if options.json:
        figures = {
            key: {"images_per_second": result.per_second, "reason": result.reason} for key, result in results.items()
        }
        reasons = {name: reason for name, (_, reason) in found.items() if reason}
        setting_told = {"images": options.images, "times": times, "workers": options.workers, "device": options.device}
        extra = {"reasons": reasons, "setting": setting_told, "versions": versions}
        print(harness.report(figures, {name: value for name, (value, _) in found.items()}, extra))
        return
    print(_table(results))
    for name, (value, reason) in found.items():
        print(f"{name}: {value:.3f}" if value is not None else f"{name}: none ({reason})")
    print(", ".join(f"{name} {version or '–'}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
