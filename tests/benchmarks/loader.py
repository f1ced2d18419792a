"""Images per second from JPEG files to batches, ours and others': ``python tests/benchmarks/loader.py [--json]``.

2,000 photograph-like JPEGs of about 500×375 at quality 90, random resized crops of 224², batches of 64. Ratios are of
images per CPU-second in the same run. Peers that are not installed are named with the reason.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness
import photos
import simplejpeg
from harness import Contender, Pass, Result
from loader_decoders import DECODERS
from loader_peers import PEERS, Setting

from gputrain.engine.configuration import settings
from gputrain.engine.datasets.image_set import scan
from gputrain.engine.training.loader.make_loader import make_loader

PACKAGES = (
    "gputrain-tui",
    "torch",
    "torchvision",
    "pillow",
    "simplejpeg",
    "pyturbojpeg",
    "opencv-python-headless",
    "numpy",
    "nvidia-dali-cuda120",
    "ffcv",
    "spdl",
    "webdataset",
)
RATIOS = {
    "no_cache_vs_torchvision": ("ours", "torchvision"),
    "no_cache_vs_dali_cpu": ("ours", "dali_cpu"),
    "no_cache_vs_ffcv_jpeg": ("ours", "ffcv_jpeg"),
    "raw_cache_vs_ffcv_raw": ("ours_raw", "ffcv_raw"),
}


def _ours(setting: Setting, **values: str | int) -> Pass:
    images = scan(str(setting.data), "train")
    config = settings.build(
        {
            "num_workers": setting.workers,
            "batch_size": setting.batch_size,
            "image_size": setting.size,
            "loader": "threads",
            # No epoch is begun while others have their turns.
            "epochs": 1,
            **values,
        }
    )
    os.environ["GPUTRAIN_CACHE"] = str(setting.scratch)
    source = make_loader(images, config, train=True, pin=False)
    epochs = iter(range(1_000_000))
    return lambda: sum(len(batch.images) for batch in source.epoch(next(epochs)))


def ours(setting: Setting) -> Pass:
    """No cache, threads."""
    return _ours(setting)


def ours_processes(setting: Setting) -> Pass:
    """No cache, worker processes over a shared ring."""
    return _ours(setting, loader="processes")


def ours_jpeg(setting: Setting) -> Pass:
    """JPEG tiles at full size."""
    return _ours(setting, cache="disk", cache_form="jpeg")


def ours_raw(setting: Setting) -> Pass:
    """Decoded pixels at short side 256, about what FFCV keeps, threads."""
    return _ours(setting, cache="disk", cache_form="raw", cache_resolution=256)


def ours_raw_processes(setting: Setting) -> Pass:
    """The same, worker processes."""
    return _ours(setting, cache="disk", cache_form="raw", cache_resolution=256, loader="processes")


def ours_raw_default(setting: Setting) -> Pass:
    """As large as the smallest crop needs: the plan's choice, which keeps these images at their full size."""
    return _ours(setting, cache="disk", cache_form="raw")


def full_decode(setting: Setting) -> Pass:
    """libjpeg-turbo alone: whole images from memory, nothing else done."""
    files = [path.read_bytes() for path in sorted(setting.data.glob("train/*/*.jpg"))]

    def one_pass() -> int:
        with ThreadPoolExecutor(setting.workers) as pool:
            return sum(1 for _ in pool.map(simplejpeg.decode_jpeg, files))

    return one_pass


CONTENDERS = (
    Contender("full_decode", "libjpeg-turbo's full decode alone", "no crop, no resize", full_decode),
    *PEERS,
    *DECODERS,
    Contender("ours", "gputrain, no cache", "antialiased", ours),
    Contender("ours_processes", "gputrain, no cache, processes", "antialiased", ours_processes),
    Contender("ours_jpeg", "gputrain, JPEG tile cache", "antialiased", ours_jpeg),
    Contender("ours_raw", "gputrain, raw cache", "antialiased, from a reduced image", ours_raw),
    Contender("ours_raw_processes", "gputrain, raw cache, processes", "as above", ours_raw_processes),
    Contender("ours_raw_default", "gputrain, raw cache, default size", "antialiased, whole images", ours_raw_default),
)


def _table(results: dict[str, Result]) -> str:
    anchor = results["full_decode"].per_cpu_second if "full_decode" in results else None
    lines = [f"{'':44} {'img/s':>8} {'per CPU-s':>10} {'× decode':>9}  quality"]
    for result in results.values():
        wall, cpu = result.per_second, result.per_cpu_second
        if wall is None or cpu is None:
            lines.append(f"{result.contender.name:44} {result.reason}")
            continue
        share = f"{cpu / anchor:9.2f}" if anchor else f"{'':9}"
        lines.append(f"{result.contender.name:44} {wall:8,.0f} {cpu:10,.0f} {share}  {result.contender.quality}")
    return "\n".join(lines)


def main() -> None:
    """Run all contenders and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, help="keep the drawn images and the peers' files here")
    parser.add_argument("--only", nargs="*", default=[], help="keys of the contenders to run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as temporary:
        folder = options.folder or Path(temporary)
        data = photos.draw(folder / "photos", options.images)
        scratch = folder / "scratch"
        scratch.mkdir(exist_ok=True)
        setting = Setting(data, scratch, options.workers, batch_size=64, size=224)
        chosen = [c for c in CONTENDERS if not options.only or c.key in options.only]
        results = {result.contender.key: result for result in harness.compare(chosen, setting, options.rounds)}
    pairs = {name: harness.ratio(results, *keys) for name, keys in RATIOS.items()}
    if options.json:
        figures = {
            key: {
                "images_per_second": result.per_second,
                "images_per_cpu_second": result.per_cpu_second,
                "quality": result.contender.quality,
                "reason": result.reason,
            }
            for key, result in results.items()
        }
        extra = {
            "reasons": {name: reason for name, (_, reason) in pairs.items() if reason},
            "versions": harness.versions(PACKAGES),
        }
        print(harness.report(figures, {name: value for name, (value, _) in pairs.items()}, extra))
        return
    print(_table(results))
    for name, (value, reason) in pairs.items():
        print(f"{name}: {value:.2f}" if value is not None else f"{name}: none ({reason})")
    print(", ".join(f"{name} {version or '–'}" for name, version in harness.versions(PACKAGES).items()))


if __name__ == "__main__":
    main()
