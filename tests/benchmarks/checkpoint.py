"""Cost of checkpoints during training: ``python tests/benchmarks/checkpoint.py [--json]``.

The real training loop on one batch in memory: without checkpoints, with one asynchronous checkpoint per turn, and with
one synchronous checkpoint per turn. A turn ends when its checkpoint is on disk, so that all of its cost counts. Ratios
are of images per second, as the median over rounds in which the three alternate.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import harness
import torch
from driven import driven
from harness import Contender, Pass, Result
from PIL import Image

from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import CheckpointConfig
from gputrain.engine.shared_loop import epoch_end
from gputrain.engine.training.state.state_snapshot import size_of

PACKAGES = ("gputrain-tui", "torch", "torchvision")
CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Setting:
    """The training of all three."""

    data: str
    model: str
    batch_size: int
    size: int
    precision: str
    device: str
    steps: int
    """Steps of a turn, which has one checkpoint."""


def _pass(setting: Setting, *, every: bool, background: bool) -> Pass:
    config = settings.build(
        {
            "dataset": "imagefolder",
            "data_dir": setting.data,
            "val_split": "",
            "device": setting.device,
            "model": setting.model,
            "batch_size": setting.batch_size,
            "image_size": setting.size,
            "val_resize": setting.size,
            "precision": setting.precision,
            "async_checkpoints": background,
            "checkpoint_epochs": 0,
        }
    )

    def due(_: CheckpointConfig, step: int, saved_step: int) -> bool:
        # At the first step of each turn: the others are there to hide it.
        return every and step != saved_step and step % setting.steps == 1

    inner = driven(config, setting.steps, ((epoch_end, "mid_epoch_checkpoint_due", due),))

    def one_pass() -> int:
        images = inner()
        for thread in threading.enumerate():
            if thread.name == "checkpoint":
                thread.join()
        return images

    return one_pass


def _none(setting: Setting) -> Pass:
    return _pass(setting, every=False, background=True)


def _async(setting: Setting) -> Pass:
    return _pass(setting, every=True, background=True)


def _held(setting: Setting) -> Pass:
    return _pass(setting, every=True, background=False)


CONTENDERS = (
    Contender("none", "no checkpoints", "", _none),
    Contender("async", "one a turn, beside the training", "async_checkpoints=true", _async),
    Contender("held", "one a turn, waited for", "async_checkpoints=false", _held),
)


def _folder(root: Path) -> Path:
    for number in range(CLASSES):
        folder = root / "train" / f"{number:04}"
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "0.jpg")
    return root


def _checkpoint_bytes(model: str) -> int:
    """Size of a checkpoint's tensors: weights and momentum."""
    from torchvision import models

    network = models.get_model(model, weights=None)
    momentum = [parameter.detach() for parameter in network.parameters()]
    return size_of(network.state_dict()) + size_of(momentum)


def _seconds(result: Result, bare: Result, images: int) -> float | None:
    """Extra seconds per turn for one checkpoint."""
    if result.per_second is None or bare.per_second is None:
        return None
    return images / result.per_second - images / bare.per_second


def _answer(setting: Setting, results: dict[str, Result], as_json: bool) -> str:
    images = setting.steps * setting.batch_size
    size = _checkpoint_bytes(setting.model)
    figures: dict[str, object] = {"checkpoint_bytes": size}
    lines = [f"{setting.model}, {setting.batch_size} × {setting.size}², {setting.precision}, {setting.device}; "]
    lines[0] += f"a checkpoint of {size / 2**20:.0f} MiB every {setting.steps} steps"
    for key, result in results.items():
        added = _seconds(result, results["none"], images)
        figures[key] = {"images_per_second": result.per_second, "added_seconds": added, "reason": result.reason}
        if result.per_second is None or added is None:
            lines.append(f"{result.contender.name:34} {result.reason}")
            continue
        turn = images / result.per_second
        lines.append(
            f"{result.contender.name:34} {result.per_second:9,.1f} img/s  {turn:7.2f} s a turn  {added:+.3f} s each"
        )
    ratios = {f"{key}_vs_none": harness.ratio(results, key, "none", wall=True)[0] for key in ("async", "held")}
    versions = harness.versions(PACKAGES)
    if as_json:
        setting_told = {"model": setting.model, "batch_size": setting.batch_size, "image_size": setting.size}
        setting_told |= {"precision": setting.precision, "device": setting.device, "steps": setting.steps}
        return harness.report(figures, ratios, {"setting": setting_told, "versions": versions})
    lines += [f"{name}: {value:.4f}" if value is not None else f"{name}: none" for name, value in ratios.items()]
    return "\n".join([*lines, ", ".join(f"{name} {version or '–'}" for name, version in versions.items())])


def main() -> None:
    """Run the three and print a table, or JSON."""
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument("--model", default="resnet50", help="of torchvision")
    parser.add_argument("--batch-size", type=int, default=256 if gpu else 8)
    parser.add_argument("--size", type=int, default=224 if gpu else 96, help="side of the images")
    parser.add_argument("--steps", type=int, default=500 if gpu else 60, help="steps of a turn")
    parser.add_argument("--precision", choices=["fp32", "fp16", "bf16"], default="bf16" if gpu else "fp32")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as temporary:
        setting = Setting(
            data=str(_folder(Path(temporary))),
            model=options.model,
            batch_size=options.batch_size,
            size=options.size,
            precision=options.precision,
            device=options.device,
            steps=options.steps,
        )
        results = {r.contender.key: r for r in harness.compare(CONTENDERS, setting, options.rounds)}
    print(_answer(setting, results, options.json))


if __name__ == "__main__":
    main()
