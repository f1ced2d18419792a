"""Training steps per second without data loading, beside other loops: ``python tests/benchmarks/step.py [--json]``.

One batch lies in memory; every loop trains the same network on it in the same arithmetic. On a GPU the ratios are of
images per second, on a CPU of images per CPU-second (all use all cores, and other work on the machine is hardly felt),
each the median over rounds in which the loops take turns.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import harness
import torch
from harness import Result
from PIL import Image
from step_loops import CLASSES, CONTENDERS, Setting
from torchvision import models

from gputrain.engine.hardware.peak_flops import peak_flops
from gputrain.engine.training.networks.flops import flops_per_image

PACKAGES = ("gputrain-tui", "torch", "torchvision", "timm")
RATIOS = {
    "loop_vs_bare": ("ours", "bare"),
    "loop_vs_torchvision": ("ours", "torchvision"),
    "loop_vs_timm": ("ours", "timm"),
    "optimized_vs_standard": ("ours", "standard"),
}


def _folder(root: Path) -> Path:
    """An image folder with one image per class, as the trainer reads its data before it starts."""
    for number in range(CLASSES):
        folder = root / "train" / f"{number:03}"
        folder.mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(folder / "0.jpg")
    return root


def _setting(options: argparse.Namespace, data: Path) -> Setting:
    gpu = options.device == "cuda"
    return Setting(
        data=data,
        model=options.model or ("resnet50" if gpu else "resnet18"),
        batch_size=options.batch_size or (256 if gpu else 16),
        size=options.size or (224 if gpu else 96),
        precision=options.precision or ("bf16" if gpu else "fp32"),
        compile=options.compile,
        device=options.device,
        steps=options.steps or (20 if gpu else 5),
    )


def _mfu(setting: Setting, images_per_second: float | None) -> float | None:
    if setting.device != "cuda" or images_per_second is None:
        return None
    flops = flops_per_image(models.get_model(setting.model, weights=None), setting.size)
    peak = peak_flops(torch.cuda.get_device_name(), setting.precision, tf32=True)  # type: ignore[arg-type]
    return images_per_second * flops / peak if flops and peak else None


def _table(results: dict[str, Result], setting: Setting) -> str:
    lines = [f"{'':30} {'img/s':>9} {'per CPU-s':>10} {'MFU':>6}  how"]
    for result in results.values():
        wall, cpu = result.per_second, result.per_cpu_second
        if wall is None or cpu is None:
            lines.append(f"{result.contender.name:30} {result.reason}")
            continue
        mfu = _mfu(setting, wall)
        shown = f"{mfu:6.1%}" if mfu is not None else f"{'–':>6}"
        lines.append(f"{result.contender.name:30} {wall:9,.1f} {cpu:10,.1f} {shown}  {result.contender.quality}")
    return "\n".join(lines)


def main() -> None:
    """Run all loops and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lives", type=int, default=3, help="times that every loop's process is made anew")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", help="of torchvision; resnet50 on a GPU, resnet18 on a CPU unless named")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--size", type=int, help="side of the images")
    parser.add_argument("--steps", type=int, help="steps of a pass")
    parser.add_argument("--precision", choices=["fp32", "fp16", "bf16"])
    parser.add_argument("--compile", action="store_true", help="compile the network in every loop but the untuned one")
    parser.add_argument("--only", nargs="*", default=[], help="keys of the loops to run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as temporary:
        setting = _setting(options, _folder(Path(temporary)))
        chosen = [c for c in CONTENDERS if not options.only or c.key in options.only]
        results = {
            result.contender.key: result for result in harness.compare(chosen, setting, options.rounds, options.lives)
        }
    wall = setting.device == "cuda"
    pairs = {name: harness.ratio(results, *keys, wall=wall) for name, keys in RATIOS.items()}
    ratios = {name: value for name, (value, _) in pairs.items()}
    versions = harness.versions(PACKAGES)
    if options.json:
        figures = {
            key: {
                "images_per_second": result.per_second,
                "images_per_cpu_second": result.per_cpu_second,
                "mfu": _mfu(setting, result.per_second),
                "how": result.contender.quality,
                "reason": result.reason,
            }
            for key, result in results.items()
        }
        extra = {
            "reasons": {name: reason for name, (_, reason) in pairs.items() if reason},
            "setting": {"model": setting.model, "batch_size": setting.batch_size, "image_size": setting.size}
            | {"precision": setting.precision, "compile": setting.compile, "device": setting.device},
            "versions": versions,
        }
        print(harness.report(figures, ratios, extra))
        return
    print(f"{setting.model}, {setting.batch_size} × {setting.size}², {setting.precision}, {setting.device}")
    print(_table(results, setting))
    for name, (value, reason) in pairs.items():
        print(f"{name}: {value:.3f}" if value is not None else f"{name}: none ({reason})")
    print(", ".join(f"{name} {version or '–'}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
